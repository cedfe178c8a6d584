//! Unwound stacks.

/// Addresses of a stack, the leaf first: each is that of an instruction of the frame's function.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Stack {
    /// One for each frame, the leaf first; of callers, an address inside of the call.
    pub addresses: Box<[u64]>,
    /// Whether it ends before the thread's first function.
    pub truncated: bool,
}

/// An unwound stack.
pub(crate) struct Walked {
    pub(crate) stack: Stack,
    /// Where each frame begins in memory; it ends where the next one begins.
    pub(crate) stack_pointers: Vec<u64>,
    /// Whether more of the stack was needed than was copied.
    pub(crate) ran_out: bool,
}
