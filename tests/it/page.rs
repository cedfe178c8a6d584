//! The page as people meet it: in a browser, while handlers are ill.

mod blocked;
mod browser;
mod layout;
mod live;
mod look;
mod pictures;
mod record;

pub(crate) use self::browser::Browser;
use crate::clinic::Clinic;

/// A browser that looks at the clinic.
fn visit(clinic: &Clinic) -> Browser {
    let mut browser = Browser::start();
    browser.open(&clinic.diagnostics("/debug/"));
    browser
}

/// An expression: whether something on the page has a text.
fn has(selector: &str, text: &str) -> String {
    format!(
        "[...document.querySelectorAll({selector:?})].some((one) => \
         one.innerText.includes({text:?}))"
    )
}
