//! The service that is looked at: found running, or started.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressFinish};
use serde_json::Value;
use tokio::time;

use super::{Args, child::Child, take::blocking};
use crate::{client::Client, load::Address};
use thermograph::Token;

/// How long a service that listens may take to be ready.
const READY: Duration = Duration::from_secs(5);

/// A service, ready for requests.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) api: Address,
    pub(crate) diagnostics: Client,
    /// Stopped when this is dropped; none where the service was running already.
    child: Option<Child>,
}

impl Subject {
    /// Finds the service or starts it, and waits until it is ready.
    pub(crate) async fn find(config: Option<&Path>, args: &Args) -> anyhow::Result<Self> {
        let token = args.token.get();
        if let Some(api) = &args.url {
            let diagnostics = Client::new(&args.diagnostics_url, token);
            let subject = Self { api: api.clone(), diagnostics, child: None };
            subject.ready().await?;
            return Ok(subject);
        }
        let spinner = ProgressBar::new_spinner().with_message("starting the service");
        // Also after an error, which would otherwise be printed behind it.
        let spinner = spinner.with_finish(ProgressFinish::AndClear);
        spinner.enable_steady_tick(Duration::from_millis(100));
        let mut child = Child::start(command(config, args)?)?;
        let addresses = child.addresses().await?;
        let diagnostics = Client::new(&format!("http://{}", addresses.diagnostics), token);
        let api =
            addresses.api.tcp().context("api.listen: expected an address of TCP, to drive")?;
        let subject = Self { api: api.into(), diagnostics, child: Some(child) };
        subject.ready().await?;
        Ok(subject)
    }

    /// The end of the log of a service that was started here.
    pub(crate) fn log(&self) -> Option<String> {
        self.child.as_ref().map(Child::log)
    }

    /// The process that was started here.
    pub(crate) fn process(&self) -> Option<u32> {
        self.child.as_ref().map(Child::process)
    }

    /// Waits until the service says that it is ready; one that knows no readiness is.
    async fn ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY;
        let client = Client::new(&self.api.to_string(), None);
        loop {
            let client = client.clone();
            let asked = blocking(move || client.answer("/health/ready", Duration::ZERO)).await;
            let (status, body) = match asked {
                Ok(answer) => answer,
                Err(error) => bail!("nothing answers at {}: {:#}", self.api, error.root_cause()),
            };
            match status {
                200..300 | 404 => return Ok(()),
                _ if Instant::now() > deadline => {
                    bail!("{} is not ready ({status}): {}", self.api, message(&body))
                }
                _ => time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

fn command(config: Option<&Path>, args: &Args) -> anyhow::Result<Command> {
    if let Some(program) = &args.program {
        return Ok(Command::new(program));
    }
    let this = std::env::current_exe().context("cannot tell which program this is")?;
    let mut command = Command::new(this);
    command.arg("serve").args(config.map(|_| "--config")).args(config);
    // The token known here, and not one of the configuration file, which is not.
    let token = args.token.get().map_or("", Token::reveal);
    command.env("THERMOGRAPH_DIAGNOSTICS_TOKEN", token);
    command.env("THERMOGRAPH_DIAGNOSTICS_TOKEN_FILE", "");
    // The load and the client of the diagnostics speak to it on this machine.
    for variable in ["CERT", "KEY", "CLIENT_CA"] {
        command.env(format!("THERMOGRAPH_API_TLS_{variable}"), "");
        command.env(format!("THERMOGRAPH_DIAGNOSTICS_TLS_{variable}"), "");
    }
    command.env("THERMOGRAPH_LOG_FORMAT", "text");
    // The service under test has no balancer that would have to notice its end.
    command.env("THERMOGRAPH_API_SHUTDOWN_GRACE", "0s");
    Ok(command)
}

/// What an error says: the message in its JSON if there is one, or the text as it is.
fn message(body: &[u8]) -> String {
    let json = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let places = ["/error/message", "/message", "/error", "/reason"];
    let text = places.iter().find_map(|place| json.pointer(place)?.as_str());
    text.map_or_else(|| String::from_utf8_lossy(body).trim().to_owned(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_an_error_is_found() {
        assert_eq!(message(br#"{"error":{"message":"no model"}}"#), "no model");
        assert_eq!(message(br#"{"error":"no model"}"#), "no model");
        assert_eq!(message(br#"{"status":"down"}"#), r#"{"status":"down"}"#);
        assert_eq!(message(b"no model\n"), "no model");
    }
}
