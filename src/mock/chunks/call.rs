//! Calls of tools.

/// JSON around the words in a tool call's arguments, escaped for a string.
pub(in crate::mock) const ARGUMENTS: [&str; 2] = [r#"{\"text\":\""#, r#"\"}"#];

/// A call of a tool.
#[derive(Debug)]
pub(in crate::mock) struct Call {
    /// Id of the call, up to the place of its choice.
    pub(in crate::mock) id: String,
    /// Name of the tool, in JSON.
    pub(in crate::mock) name: String,
}

impl Call {
    /// The content of a message that calls, up to the arguments. In chunks, each call has its place
    /// among those of its choice.
    pub(in crate::mock) fn begin(&self, choice: usize, is_chunk: bool) -> String {
        let Self { id, name } = self;
        let index = if is_chunk { r#""index":0,"# } else { "" };
        format!(
            r#"null,"tool_calls":[{{{index}"id":"{id}{choice}","type":"function","function":{{"name":{name},"arguments":""#
        )
    }
}
