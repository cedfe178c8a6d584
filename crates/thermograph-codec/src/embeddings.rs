//! Answers of vectors, in every codec: OpenAI's `CreateEmbeddingResponse`.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    cbor,
    codec::Codec,
    error::{CodecError, Problem},
    json, messagepack,
    sink::{Sink, pack},
};

/// Answer to an embeddings request: vectors, their model and its usage.
#[derive(Clone, Copy, Debug)]
pub struct Embeddings<'a, V> {
    /// The model that made them.
    pub model: &'a str,
    /// Vectors, in the order of the inputs.
    pub vectors: &'a [V],
    /// Tokens that the model read.
    pub tokens: usize,
    /// Form in which the vectors are written.
    pub form: Form,
}

/// Form in which vectors are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// As the bytes of little-endian 32-bit floats; as numbers in JSON, which has no bytes.
    Packed,
    /// As lists of numbers.
    Floats,
    /// As base64 text of the bytes.
    Base64,
}

/// Bytes of an answer besides its vectors, and of one besides its numbers.
const FRAME: usize = 256;
const ENTRY: usize = 64;

impl<V: AsRef<[f32]>> Embeddings<'_, V> {
    /// The body of the answer.
    pub fn encode(&self, codec: Codec) -> Result<Vec<u8>, CodecError> {
        let mut out = Vec::with_capacity(self.length(codec));
        match codec {
            Codec::Json => self.tell(&mut json::Writer::new(&mut out)),
            Codec::MessagePack => self.tell(&mut messagepack::Writer::new(&mut out)),
            Codec::Cbor => self.tell(&mut cbor::Writer::new(&mut out)),
        }?;
        Ok(out)
    }

    /// A little more than the answer has, so that it is not moved while it grows.
    fn length(&self, codec: Codec) -> usize {
        let each = match (self.form, codec) {
            (Form::Base64, _) => 6,
            (Form::Packed | Form::Floats, Codec::Json) => 13,
            (Form::Packed, _) => 4,
            (Form::Floats, _) => 5,
        };
        let numbers: usize = self.vectors.iter().map(|vector| vector.as_ref().len()).sum();
        FRAME + self.model.len() + self.vectors.len() * ENTRY + numbers * each
    }

    fn tell(&self, sink: &mut impl Sink) -> Result<(), Problem> {
        sink.begin_map(Some(4))?;
        sink.key("object")?;
        sink.text("list")?;
        sink.key("data")?;
        sink.begin_list(Some(self.vectors.len()))?;
        for (index, vector) in self.vectors.iter().enumerate() {
            sink.begin_map(Some(3))?;
            sink.key("object")?;
            sink.text("embedding")?;
            sink.key("index")?;
            sink.u64(index as u64)?;
            sink.key("embedding")?;
            self.form.tell(vector.as_ref(), sink)?;
            sink.end_map()?;
        }
        sink.end_list()?;
        sink.key("model")?;
        sink.text(self.model)?;
        sink.key("usage")?;
        sink.begin_map(Some(2))?;
        for key in ["prompt_tokens", "total_tokens"] {
            sink.key(key)?;
            sink.u64(self.tokens as u64)?;
        }
        sink.end_map()?;
        sink.end_map()
    }
}

impl Form {
    fn tell(self, vector: &[f32], sink: &mut impl Sink) -> Result<(), Problem> {
        match self {
            Self::Packed => sink.vector(vector),
            Self::Floats => sink.list_of(vector),
            Self::Base64 => {
                let mut bytes = Vec::with_capacity(size_of_val(vector));
                pack(vector, &mut bytes);
                sink.text(&STANDARD.encode(bytes))
            }
        }
    }
}
