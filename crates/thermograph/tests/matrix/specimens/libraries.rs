//! Work that is some library's.

use std::{collections::BTreeMap, hint::black_box, io::Write as _, sync::LazyLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{
    Compression,
    read::GzDecoder,
    write::{DeflateEncoder, GzEncoder},
};
use regex::Regex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::for_a_while;
use crate::specimen::{Specimen, computes};

pub(super) fn all() -> Vec<Specimen> {
    LazyLock::force(&RECORDS);
    LazyLock::force(&JSON);
    LazyLock::force(&EMAIL);
    vec![
        computes(json_write),
        computes(json_parse),
        computes(json_value),
        computes(message_pack),
        computes(cbor),
        computes(regex_find),
        computes(regex_build),
        computes(base64_text),
        computes(gzip),
        computes(gunzip),
        computes(deflate),
        computes(sha256),
        computes(argon2_hash),
        computes(headers),
    ]
}

#[derive(Clone, Deserialize, Serialize)]
struct Record {
    id: u64,
    name: String,
    scores: Vec<f64>,
    tags: BTreeMap<String, String>,
}

static RECORDS: LazyLock<Vec<Record>> = LazyLock::new(|| {
    let record = |id: u64| Record {
        id,
        name: format!("record \"{id}\""),
        scores: vec![0.1 * id as f64; 8],
        tags: BTreeMap::from([("kind".to_owned(), format!("kind {}", id % 7))]),
    };
    (0..500).map(record).collect()
});

static JSON: LazyLock<String> =
    LazyLock::new(|| serde_json::to_string(&*RECORDS).expect("serializes"));

static EMAIL: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(\w+)@(\w+)\.(com|org)\b").expect("a pattern"));

#[inline(never)]
fn json_write() {
    for_a_while(|| drop(black_box(serde_json::to_vec(&*RECORDS))));
    black_box(());
}

#[inline(never)]
pub(super) fn json_parse() {
    for_a_while(|| drop(black_box(serde_json::from_str::<Vec<Record>>(&JSON))));
    black_box(());
}

#[inline(never)]
fn json_value() {
    for_a_while(|| drop(black_box(serde_json::from_str::<serde_json::Value>(&JSON))));
    black_box(());
}

#[inline(never)]
fn message_pack() {
    for_a_while(|| {
        let bytes = rmp_serde::to_vec(&*RECORDS).expect("serializes");
        drop(black_box(rmp_serde::from_slice::<Vec<Record>>(&bytes)));
    });
    black_box(());
}

#[inline(never)]
fn cbor() {
    for_a_while(|| drop(black_box(cbor4ii::serde::to_vec(Vec::new(), &*RECORDS))));
    black_box(());
}

#[inline(never)]
fn regex_find() {
    let text = "some words, and somebody@example.org among them; ".repeat(50);
    for_a_while(|| {
        black_box(EMAIL.find_iter(black_box(&text)).count());
    });
    black_box(());
}

#[inline(never)]
fn regex_build() {
    for_a_while(|| drop(black_box(Regex::new(r"^(\w{1,20}|[a-z]+\d{2,8})*-(one|two|three)$"))));
    black_box(());
}

#[inline(never)]
fn base64_text() {
    let bytes = vec![b'x'; 10_000];
    for_a_while(|| {
        let text = STANDARD.encode(black_box(&bytes));
        drop(black_box(STANDARD.decode(text)));
    });
    black_box(());
}

fn zipped() -> Vec<u8> {
    let mut zip = GzEncoder::new(Vec::new(), Compression::default());
    zip.write_all(&JSON.as_bytes()[..20_000]).expect("written");
    zip.finish().expect("finished")
}

#[inline(never)]
fn gzip() {
    for_a_while(|| drop(black_box(zipped())));
    black_box(());
}

#[inline(never)]
fn gunzip() {
    let bytes = zipped();
    for_a_while(|| {
        let text = std::io::read_to_string(GzDecoder::new(&*bytes));
        drop(black_box(text));
    });
    black_box(());
}

#[inline(never)]
fn deflate() {
    for_a_while(|| {
        let mut zip = DeflateEncoder::new(Vec::new(), Compression::best());
        zip.write_all(&JSON.as_bytes()[..10_000]).expect("written");
        drop(black_box(zip.finish()));
    });
    black_box(());
}

#[inline(never)]
fn sha256() {
    let bytes = vec![b'x'; 10_000];
    for_a_while(|| {
        black_box(Sha256::digest(black_box(&bytes)));
    });
    black_box(());
}

#[inline(never)]
fn argon2_hash() {
    let params = argon2::Params::new(256, 1, 1, None).expect("allowed");
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    for_a_while(|| {
        let mut hash = [0; 32];
        argon2.hash_password_into(b"password", b"some salt", &mut hash).expect("hashed");
        black_box(hash);
    });
    black_box(());
}

#[inline(never)]
fn headers() {
    for_a_while(|| {
        let mut headers = http::HeaderMap::new();
        for number in 0..100 {
            let name = http::HeaderName::try_from(format!("x-header-{number}")).expect("a name");
            headers.insert(name, http::HeaderValue::from(number));
        }
        black_box(headers);
    });
    black_box(());
}
