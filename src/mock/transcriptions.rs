//! `POST /v1/audio/transcriptions` and `/v1/audio/translations`: words for any audio.

use serde_json::{Value, json};

use super::{
    content::Content, form::Form, manner::Manner, output::Output, refusal::Refusal, size::Tokens,
};

/// Largest file, as `OpenAI` has it.
const MAX_FILE: usize = 25 << 20;
/// Bytes of audio that count as a second of it.
const BYTES_PER_SECOND: usize = 16_000;

/// A transcription.
pub(super) fn transcribe(form: &Form, manner: &Manner) -> Result<Content, Refusal> {
    answer(form, manner, "transcribe")
}

/// A translation.
pub(super) fn translate(form: &Form, manner: &Manner) -> Result<Content, Refusal> {
    answer(form, manner, "translate")
}

fn answer(form: &Form, manner: &Manner, task: &str) -> Result<Content, Refusal> {
    let model = form.text("model")?.ok_or_else(|| Refusal::missing("model"))?;
    manner.check_model(model)?;
    let file = form.file("file").ok_or_else(|| Refusal::missing("file"))?;
    if !(1..=MAX_FILE).contains(&file.len()) {
        let found = format!("{} bytes", file.len());
        return Err(Refusal::not_allowed("file", found, &format!("1 to {MAX_FILE} bytes")));
    }
    if form.text("stream")? == Some("true") {
        return Err(Refusal::not_allowed("stream", true, "`false`, of the mock's transcriptions"));
    }
    let output = &manner.output;
    let seconds = file.len().div_ceil(BYTES_PER_SECOND);
    let of_prompt = form.text("prompt")?.map_or(0, Tokens::of);
    match form.text("response_format")?.unwrap_or("json") {
        "json" => Content::json(&json!({
            "text": output.text(),
            "usage": usage(seconds, of_prompt, output.tokens()),
        })),
        "text" => {
            let text = format!("{}\n", output.text());
            Ok(Content::Whole("text/plain; charset=utf-8", text.into()))
        }
        "verbose_json" => Content::json(&verbose(task, seconds, output)),
        other => {
            let allowed = "`json`, `text` or `verbose_json`";
            Err(Refusal::not_allowed("response_format", format!("`{other}`"), allowed))
        }
    }
}

/// Ten tokens for each second of audio.
fn usage(seconds: usize, of_prompt: usize, output: usize) -> Value {
    let audio = seconds * 10;
    json!({
        "type": "tokens",
        "input_tokens": audio + of_prompt,
        "input_token_details": { "audio_tokens": audio, "text_tokens": of_prompt },
        "output_tokens": output,
        "total_tokens": audio + of_prompt + output,
    })
}

fn verbose(task: &str, seconds: usize, output: &Output) -> Value {
    let text = output.text();
    let segment = json!({
        "id": 0,
        "seek": 0,
        "start": 0.0,
        "end": seconds as f64,
        "text": text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": -0.5,
        "compression_ratio": 1.0,
        "no_speech_prob": 0.01,
    });
    json!({
        "task": task,
        "language": "english",
        "duration": seconds as f64,
        "text": text,
        "segments": [segment],
        "usage": { "type": "duration", "seconds": seconds },
    })
}
