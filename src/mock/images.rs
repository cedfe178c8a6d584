//! `POST /v1/images/generations`: pictures of one color, which depends on the prompt.

use std::{borrow::Cow, io::Write as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, Crc, write::ZlibEncoder};
use serde::Deserialize;
use serde_json::json;

use super::{
    content::{Content, now},
    hash::Hash,
    manner::Manner,
    object::read,
    refusal::Refusal,
    size::Tokens,
};

/// Most pictures, as `OpenAI` has it.
const MAX_PICTURES: usize = 10;
/// Longest prompt, in letters, as `OpenAI` has it.
const MAX_PROMPT: usize = 32_000;
/// Width and height of a picture, whatever was asked for.
const SIDE: u32 = 8;
/// Tokens that a picture counts for.
const TOKENS: usize = 272;

/// Fields of the request that are read; all others are ignored.
#[derive(Debug, Deserialize)]
struct Asked<'a> {
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow)]
    prompt: Cow<'a, str>,
    #[serde(default)]
    n: Option<usize>,
    #[serde(borrow, default)]
    response_format: Option<Cow<'a, str>>,
    #[serde(default)]
    stream: Option<bool>,
}

/// Pictures.
pub(super) fn answer(body: &[u8], manner: &Manner) -> Result<Content, Refusal> {
    let asked: Asked<'_> = read(body)?;
    if let Some(model) = &asked.model {
        manner.check_model(model)?;
    }
    let count = asked.n.unwrap_or(1);
    if !(1..=MAX_PICTURES).contains(&count) {
        return Err(Refusal::not_allowed("n", count, &format!("1 to {MAX_PICTURES}")));
    }
    let length = asked.prompt.chars().count();
    if !(1..=MAX_PROMPT).contains(&length) {
        let found = format!("a text of {length} letters");
        return Err(Refusal::not_allowed("prompt", found, &format!("1 to {MAX_PROMPT} letters")));
    }
    if let Some(format) = asked.response_format.filter(|format| format != "b64_json") {
        let allowed = "`b64_json`, since the mock keeps no pictures";
        return Err(Refusal::not_allowed("response_format", format!("`{format}`"), allowed));
    }
    if asked.stream == Some(true) {
        return Err(Refusal::not_allowed("stream", true, "`false`, of the mock's pictures"));
    }
    let mut hash = Hash::of(asked.prompt.bytes());
    let data: Result<Vec<_>, Refusal> = (0..count)
        .map(|_| {
            let color = [(); 3].map(|()| (hash.next_share() * 256.0) as u8);
            let png = png(color).map_err(|error| Refusal::internal(error.to_string()))?;
            Ok(json!({ "b64_json": STANDARD.encode(png) }))
        })
        .collect();
    let (of_prompt, of_pictures) = (Tokens::of(&asked.prompt), count * TOKENS);
    Content::json(&json!({
        "created": now(),
        "background": "opaque",
        "output_format": "png",
        "quality": "low",
        "size": "1024x1024",
        "data": data?,
        "usage": {
            "input_tokens": of_prompt,
            "input_tokens_details": { "text_tokens": of_prompt, "image_tokens": 0 },
            "output_tokens": of_pictures,
            "total_tokens": of_prompt + of_pictures,
        },
    }))
}

/// A PNG file of a color.
fn png(color: [u8; 3]) -> std::io::Result<Vec<u8>> {
    let mut pixels = ZlibEncoder::new(Vec::new(), Compression::fast());
    for _ in 0..SIDE {
        // Each row begins with its filter: none.
        pixels.write_all(&[0])?;
        pixels.write_all(&color.repeat(SIDE as usize))?;
    }
    let side = SIDE.to_be_bytes();
    // Eight bits for each of three colors; the only compression, the only filters, no interlace.
    let header = [&side[..], &side, &[8, 2, 0, 0, 0]].concat();
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in [(b"IHDR", header), (b"IDAT", pixels.finish()?), (b"IEND", Vec::new())] {
        let mut sum = Crc::new();
        sum.update(kind);
        sum.update(&data);
        file.extend_from_slice(&(data.len() as u32).to_be_bytes());
        file.extend_from_slice(kind);
        file.extend_from_slice(&data);
        file.extend_from_slice(&sum.sum().to_be_bytes());
    }
    Ok(file)
}
