//! The part of its work that a watched future is in.

/// What a watched future waits in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    /// The response head.
    Handler,
    /// The rest of the response body.
    Body,
    /// What a label was put on.
    Labelled,
}
