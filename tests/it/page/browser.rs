//! A headless Chromium, driven over the `DevTools` protocol.

use std::{
    net::TcpStream,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    thread,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

use crate::support::{PATIENCE, tool, wait};

/// A browser with one tab; it and all of its processes are killed when this is dropped.
pub(crate) struct Browser {
    child: Child,
    _profile: TempDir,
    socket: WebSocket<TcpStream>,
    /// Of the tab.
    session: Option<String>,
    calls: u64,
    /// What the tab complained of.
    problems: Vec<String>,
}

impl Browser {
    pub(crate) fn start() -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        // The shell is the first of a group of processes. It kills the group when its input ends,
        // and so also where this process is killed.
        let child = Command::new("sh")
            .args(["-c", "\"$@\" & cat >/dev/null; kill -9 0", "sh"])
            .arg(tool("chromium"))
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-sync"])
            .args(["--disable-component-update", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let file = profile.path().join("DevToolsActivePort");
        let mut port = String::new();
        wait("the browser is there", || {
            port = std::fs::read_to_string(&file).unwrap_or_default();
            port.lines().count() == 2
        });
        let (port, path) = port.split_once('\n').expect("two lines");
        let stream = TcpStream::connect(format!("127.0.0.1:{port}")).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let url = format!("ws://127.0.0.1:{port}{}", path.trim());
        let (socket, _) = tungstenite::client(url, stream).expect("a WebSocket");
        let mut browser = Self {
            child,
            _profile: profile,
            socket,
            session: None,
            calls: 0,
            problems: Vec::new(),
        };
        let tab = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": tab["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", &attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        browser
    }

    /// Calls a method of the protocol: its result.
    pub(crate) fn call(&mut self, method: &str, params: &Value) -> Value {
        self.calls += 1;
        let id = self.calls;
        let mut call = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = &self.session {
            call["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(call.to_string())).expect("sent");
        loop {
            let message = self.socket.read().expect("an answer");
            let Message::Text(text) = message else { continue };
            let mut message: Value = serde_json::from_str(&text).expect("JSON");
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].take();
            }
            self.note(&message);
        }
    }

    /// Notes what is wrong with the page: exceptions, errors of the console, refusals of its policy.
    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        let is_problem = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => params["type"] == "error",
            Some("Log.entryAdded") => params["entry"]["level"] == "error",
            _ => false,
        };
        if is_problem {
            self.problems.push(params.to_string());
        }
    }

    pub(crate) fn open(&mut self, url: &str) {
        let opened = self.call("Page.navigate", &json!({ "url": url }));
        assert!(opened["errorText"].is_null(), "{opened}");
        self.wait("the page is there", "document.readyState === 'complete'");
    }

    /// The value of an expression; a promise is awaited.
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let params =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut result = self.call("Runtime.evaluate", &params);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].take()
    }

    /// Waits until an expression is true.
    pub(crate) fn wait(&mut self, what: &str, expression: &str) {
        let start = std::time::Instant::now();
        while self.eval(expression) != true {
            if start.elapsed() > PATIENCE {
                let page = self.eval("document.body?.innerText");
                panic!("waited {PATIENCE:?} until {what}: {:?}\n{page}", self.problems);
            }
            thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    pub(crate) fn click(&mut self, selector: &str) {
        self.eval(&format!("document.querySelector({selector:?}).click()"));
    }

    /// Presses a key, such as `Tab`, as a person does.
    pub(crate) fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Enter" => (13, "\r"),
            "Tab" => (9, ""),
            "Escape" => (27, ""),
            "ArrowUp" => (38, ""),
            "ArrowDown" => (40, ""),
            "ArrowRight" => (39, ""),
            _ => panic!("no key {key}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let params = json!({
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text,
            });
            self.call("Input.dispatchKeyEvent", &params);
        }
    }

    pub(crate) fn resize(&mut self, width: u32, height: u32) {
        let params =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", &params);
    }

    /// Sets what the system says it likes: `light` or `dark`.
    pub(crate) fn prefer(&mut self, scheme: &str) {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.call("Emulation.setEmulatedMedia", &json!({ "features": [feature] }));
    }

    /// What is in the window, as a PNG.
    pub(crate) fn picture(&mut self) -> Vec<u8> {
        let taken = self.call("Page.captureScreenshot", &json!({ "format": "png" }));
        let data = taken["data"].as_str().expect("a picture");
        STANDARD.decode(data).expect("base64")
    }

    /// Fails if the page complained of anything so far.
    pub(crate) fn assert_no_problems(&mut self) {
        // What happened before is told before the answer.
        self.eval("0");
        assert!(self.problems.is_empty(), "the console: {:#?}", self.problems);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The end of its input is what the shell waits for.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
