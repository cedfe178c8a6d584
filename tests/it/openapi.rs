//! The document of the API, by a validator of others.

use crate::support::{Server, python};

#[test]
fn the_document_is_openapi_and_what_it_describes_is_there() {
    let server = Server::start();
    let validator = ["openapi-spec-validator==0.9.0"];
    python::check(&validator, "openapi_document.py", &[&server.api("")]);
}
