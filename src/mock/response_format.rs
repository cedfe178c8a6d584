//! `response_format` of chats and `text.format` of responses: an answer that is JSON.

mod schema;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{manner::Manner, object::Object, output::Output, refusal::Refusal};

/// Form of an answer's text.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ResponseFormat {
    /// Words.
    Text,
    /// An object of the mock's own.
    JsonObject,
    /// An instance of a schema. Chats have the schema in an object of its own.
    JsonSchema {
        #[serde(default)]
        json_schema: Option<Object<Named>>,
        #[serde(default)]
        schema: Option<Value>,
    },
}

#[derive(Debug, Deserialize)]
pub(super) struct Named {
    #[serde(default)]
    schema: Option<Value>,
}

impl ResponseFormat {
    /// Text of an answer in this form.
    pub(super) fn output(&self, manner: &Manner) -> Result<Output, Refusal> {
        match self {
            Self::Text => Ok(manner.output.clone()),
            Self::JsonObject => {
                Ok(Output::json(&json!({ "text": manner.output.text() }).to_string()))
            }
            Self::JsonSchema { json_schema, schema } => {
                let named = json_schema.as_ref().and_then(|Object(named)| named.schema.as_ref());
                let schema = named.or(schema.as_ref()).ok_or_else(|| Refusal::missing("schema"))?;
                let instance = schema::instance(schema).map_err(|unsupported| {
                    let message = format!("schema: {unsupported}");
                    Refusal::bad_request(Some("response_format"), message)
                })?;
                Ok(Output::json(&instance.to_string()))
            }
        }
    }
}
