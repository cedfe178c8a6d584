//! Pictures of the page for the README: `./just screenshots`.

use std::{path::Path, process::Stdio, time::Duration};

use serde_json::json;

use super::{Browser, has, visit};
use crate::{clinic::Clinic, support::thermograph};

/// The clinic's patients, and how often each comes.
const TARGETS: [&str; 8] = [
    "GET /hello=20",
    "GET /healthy=6",
    "GET /spawned-blocking=1",
    "GET /blocking-sleep=1",
    "GET /lock=1",
    "GET /file-read=1",
    "GET /cpu-burn=1",
    "GET /big-json=1",
];

#[test]
#[ignore = "draws the README's pictures anew, and takes a minute"]
fn pictures_of_the_page() {
    let clinic = Clinic::open();
    let mut load = thermograph();
    load.args(["load", "--url", &format!("http://{}", clinic.addresses.api)]);
    load.args(["--rate", "40", "--duration", "10m"]);
    for target in TARGETS {
        load.args(["--target", target]);
    }
    let mut load = load.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    let mut page = visit(&clinic);
    page.resize(1280, 1000);
    page.call("Emulation.setScrollbarsHidden", &json!({ "hidden": true }));
    page.wait("verdicts", &has("#verdicts .name", "GET /lock"));
    // The lanes show half a minute.
    std::thread::sleep(Duration::from_secs(35));
    let shoot = |page: &mut Browser, name: &str, scheme: &str, (width, height)| {
        page.resize(width, height);
        page.prefer(scheme);
        // The size is seen by the next drawing of the lanes.
        std::thread::sleep(Duration::from_millis(1500));
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("flamegraphs");
        let file = folder.join(format!("readme-page-{name}.png"));
        std::fs::write(file, page.picture()).expect("written");
    };
    // One of them open, the one that is short to tell.
    page.eval(
        "[...document.querySelectorAll('#verdicts details')]
            .find((one) => one.innerText.includes('GET /blocking-sleep')).open = true",
    );
    shoot(&mut page, "light", "light", (1280, 1360));
    shoot(&mut page, "dark", "dark", (1280, 1360));
    page.eval("document.querySelector('#verdicts details[open]').open = false");
    page.eval("document.getElementById('workers').scrollIntoView()");
    shoot(&mut page, "narrow", "light", (400, 1100));
    // It has no more to do.
    let _ = load.kill();
    let _ = load.wait();
}
