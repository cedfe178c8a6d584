//! `POST /v1/audio/speech`: a tone, ten milliseconds for each token of the text.

use std::{borrow::Cow, f32::consts::TAU};

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::Deserialize;

use super::{content::Content, manner::Manner, object::read, refusal::Refusal, size::Tokens};

/// Longest text, in letters, as `OpenAI` has it.
const MAX_INPUT: usize = 4096;
/// Samples for each second, of 16 bits each.
const RATE: u32 = 24_000;
const SAMPLES_PER_TOKEN: usize = RATE as usize / 100;
const HERTZ: f32 = 440.0;

/// Fields of the request that are read; all others are ignored.
#[derive(Debug, Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
    #[serde(borrow)]
    input: Cow<'a, str>,
    #[serde(rename = "voice")]
    _voice: Tokens,
    #[serde(default)]
    response_format: Option<Format>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Mp3,
    Opus,
    Aac,
    Flac,
    Wav,
    Pcm,
}

/// Audio.
pub(super) fn answer(body: &[u8], manner: &Manner) -> Result<Content, Refusal> {
    let asked: Asked<'_> = read(body)?;
    manner.check_model(&asked.model)?;
    let length = asked.input.chars().count();
    if !(1..=MAX_INPUT).contains(&length) {
        let found = format!("a text of {length} letters");
        return Err(Refusal::not_allowed("input", found, &format!("1 to {MAX_INPUT} letters")));
    }
    let samples = Tokens::of(&asked.input) * SAMPLES_PER_TOKEN;
    Ok(asked.response_format.unwrap_or_default().content(samples))
}

impl Format {
    /// Audio of its media type. Formats that are compressed have the mark that they begin with and
    /// no audio that can be played.
    fn content(self, samples: usize) -> Content {
        let marked = |mark: &[u8]| {
            let mut body = mark.to_vec();
            body.resize(mark.len() + samples / 8, 0);
            body.into()
        };
        match self {
            Self::Mp3 => Content::Whole("audio/mpeg", marked(b"\xff\xfb\x90\xc4")),
            Self::Opus => Content::Whole("audio/opus", marked(b"OggS")),
            Self::Aac => Content::Whole("audio/aac", marked(b"\xff\xf1\x50\x80")),
            Self::Flac => Content::Whole("audio/flac", marked(b"fLaC")),
            Self::Wav => Content::Whole("audio/wav", wav(samples)),
            Self::Pcm => Content::Whole("audio/pcm", tone(samples)),
        }
    }
}

/// A RIFF file with one channel.
fn wav(samples: usize) -> Bytes {
    let tone = tone(samples);
    let length = tone.len() as u32;
    let mut file = BytesMut::with_capacity(44 + tone.len());
    file.put_slice(b"RIFF");
    file.put_u32_le(36 + length);
    file.put_slice(b"WAVEfmt ");
    file.put_u32_le(16);
    // PCM, one channel.
    file.put_u16_le(1);
    file.put_u16_le(1);
    file.put_u32_le(RATE);
    file.put_u32_le(RATE * 2);
    file.put_u16_le(2);
    file.put_u16_le(16);
    file.put_slice(b"data");
    file.put_u32_le(length);
    file.put_slice(&tone);
    file.freeze()
}

fn tone(samples: usize) -> Bytes {
    let sample = |index: usize| {
        let phase = index as f32 * HERTZ / RATE as f32 * TAU;
        (phase.sin() * f32::from(i16::MAX / 4)) as i16
    };
    (0..samples).flat_map(|index| sample(index).to_le_bytes()).collect()
}
