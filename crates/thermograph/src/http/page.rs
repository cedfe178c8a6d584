//! The page to look at: one document that needs nothing else.
//!
//! Style and script are ours, put in at compile time; the policy that goes with the page allows
//! these two by their hashes, connections to this door, its pictures in a frame, and nothing else.
//! Without JavaScript there are the ledger as text and the links.

use std::sync::LazyLock;

use axum::{
    extract::State,
    response::{Html, IntoResponse},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderName, header};
use sha2::{Digest as _, Sha256};

use super::index::links;
use crate::{build_info::BuildInfo, html_escape::escape, instance::Instance};

const HTML: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// One function, so that no name of it is anybody else's. The last one starts it.
const SCRIPT: &str = concat!(
    "\"use strict\";(() => {\n",
    include_str!("page/dom.js"),
    include_str!("page/stack.js"),
    include_str!("page/theme.js"),
    include_str!("page/victims.js"),
    include_str!("page/verdicts.js"),
    include_str!("page/lanes.js"),
    include_str!("page/handlers.js"),
    include_str!("page/stalls.js"),
    include_str!("page/picture.js"),
    include_str!("page/record.js"),
    include_str!("page/captures.js"),
    include_str!("page/doctor.js"),
    include_str!("page/live.js"),
    "})();\n",
);

/// The page but for what changes.
static PAGE: LazyLock<String> = LazyLock::new(|| {
    let missing = BuildInfo::CURRENT.missing();
    let missing =
        missing.iter().map(|what| format!("<p class=\"warn whole\">{}</p>", escape(what)));
    let missing: String = missing.collect();
    let page = HTML.replace("{{style}}", STYLE).replace("{{missing}}", &missing);
    page.replace("{{links}}", &links()).replace("{{script}}", SCRIPT)
});

static POLICY: LazyLock<String> = LazyLock::new(|| {
    let [style, script] = [STYLE, SCRIPT].map(|text| STANDARD.encode(Sha256::digest(text)));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; \
         connect-src 'self'; frame-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
});

/// `/debug/`
pub(crate) async fn page(State(instance): State<Instance>) -> impl IntoResponse {
    const REFERRER_POLICY: HeaderName = HeaderName::from_static("referrer-policy");
    let ledger = escape(&instance.ledger().report().to_string());
    let headers =
        [(header::CONTENT_SECURITY_POLICY, POLICY.as_str()), (REFERRER_POLICY, "no-referrer")];
    (headers, Html(PAGE.replace("{{ledger}}", &ledger)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn style_and_script_stand_in_the_page_as_they_were_hashed() {
        for (tag, text) in [("style", STYLE), ("script", SCRIPT)] {
            assert!(PAGE.contains(&format!("<{tag}>{text}</{tag}>")), "{tag}");
            assert_eq!(PAGE.matches(&format!("<{tag}")).count(), 1, "{tag}");
            assert!(!text.contains(&format!("</{tag}")), "{tag}");
        }
        let places = HTML.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
        for place in places.filter(|place| *place != "ledger") {
            assert!(!PAGE.contains(&format!("{{{{{place}}}}}")), "{place} was not filled in");
        }
    }

    #[test]
    fn the_page_asks_nobody_else_for_anything() {
        let namespaces = ["http://www.w3.org/2000/svg"];
        let page = namespaces.iter().fold(PAGE.clone(), |page, name| page.replace(name, ""));
        assert!(!page.contains("http://") && !page.contains("https://"));
        assert!(!page.contains("@import") && !page.contains("innerHTML"));
    }
}
