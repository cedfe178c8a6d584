//! Questions that mean the same: in a chat, what the user said last, compared by its vector.
//!
//! Everything else must be equal: the model, what was said before, all parameters; and so must all
//! numbers in the text, since "in 1990" and "in 1991" are all but the same to a small model. It is
//! still a guess, and therefore off unless it is configured.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use metrics::{Counter, Unit};
use moka::sync::Cache as Memory;
use serde_json::Value;
use thermograph_common::CpuPool;
use thermograph_engine::{Engine, TooLong};

use super::{Config, Key, KeyBuilder};

/// What was asked, by its meaning; cheap to clone, all clones are one.
#[derive(Clone)]
pub(crate) struct Semantic {
    inner: Arc<Inner>,
}

struct Inner {
    model: String,
    threshold: f32,
    groups: Memory<Key, Arc<Mutex<VecDeque<Entry>>>>,
    cpu: CpuPool,
    found: Counter,
    asked: Counter,
}

/// A question of a group, and the key of its answer.
#[derive(Clone)]
struct Entry {
    vector: Arc<[f32]>,
    numbers: String,
    key: Key,
}

/// What a question means, as far as it can be compared.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Meaning {
    /// Everything but the text.
    group: Key,
    text: String,
    /// All numbers in the text.
    numbers: String,
}

/// A question that was compared.
pub(crate) struct Compared {
    semantic: Semantic,
    group: Key,
    vector: Arc<[f32]>,
    numbers: String,
}

/// A question that means the same, by the key of its answer.
#[derive(Clone, Copy)]
pub(crate) struct Alike {
    pub(crate) key: Key,
    /// Cosine of the two vectors.
    pub(crate) similarity: f32,
}

impl Meaning {
    /// Of a chat, whose body is without what does not matter; none where the last message is not
    /// the text of a user.
    pub(super) fn of(
        mut builder: KeyBuilder,
        body: &serde_json::Map<String, Value>,
    ) -> Option<Self> {
        let mut rest = body.clone();
        let last = rest.get_mut("messages")?.as_array_mut()?.pop()?;
        if last.get("role")? != "user" {
            return None;
        }
        let text = last.get("content")?.as_str()?.to_owned();
        let digits = |char: char| if char.is_numeric() { char } else { ' ' };
        let numbers: String = text.chars().map(digits).collect();
        let numbers = numbers.split_whitespace().collect::<Vec<_>>().join(" ");
        let group = builder.value(&Value::Object(rest)).finish();
        Some(Self { group, text, numbers })
    }
}

impl Semantic {
    /// Most groups, and most questions of each.
    const GROUPS: u64 = 1024;
    const QUESTIONS: usize = 1000;
    /// More than so many questions are compared off the workers.
    const FEW: usize = 64;

    /// None where it is not configured.
    pub(super) fn new(config: &Config, cpu: &CpuPool) -> Option<Self> {
        use metrics::describe_counter;
        if config.semantic_threshold == 0.0 {
            return None;
        }
        let compared = "thermograph_cache_compared_total";
        describe_counter!(compared, Unit::Count, "Questions compared by meaning, by the result.");
        let groups = Memory::builder().max_capacity(Self::GROUPS).time_to_live(config.ttl).build();
        let inner = Inner {
            model: config.semantic_model.clone(),
            threshold: config.semantic_threshold as f32,
            groups,
            cpu: cpu.clone(),
            found: metrics::counter!(compared, "result" => "alike"),
            asked: metrics::counter!(compared, "result" => "unlike"),
        };
        Some(Self { inner: Arc::new(inner) })
    }

    /// Looks for a question that means the same; none of both where it cannot be compared.
    pub(crate) async fn compare(
        &self,
        engine: &Engine,
        meaning: Meaning,
    ) -> Option<(Compared, Option<Alike>)> {
        let Inner { model, threshold, groups, cpu, found, asked } = &*self.inner;
        let Meaning { group, text, numbers } = meaning;
        let model = engine.model(model).ok()?;
        // Without a vector it is asked as if nothing was like it.
        // One that is not read to its end is not compared either.
        let embedded = model.embed(vec![text.as_str().into()], TooLong::Reject).await.ok()?;
        let vector: Arc<[f32]> = embedded.vectors.into_iter().next()?.into();
        let entries: Vec<_> = groups.get(&group).map_or_else(Vec::new, |entries| {
            let entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
            entries.iter().filter(|entry| entry.numbers == numbers).cloned().collect()
        });
        let (own, threshold) = (Arc::clone(&vector), *threshold);
        let best = if entries.len() <= Self::FEW {
            nearest(&entries, &own)
        } else {
            cpu.run(move || nearest(&entries, &own)).await.ok()?
        };
        let alike = best.filter(|best| best.similarity >= threshold);
        if alike.is_some() { found } else { asked }.increment(1);
        Some((Compared { semantic: self.clone(), group, vector, numbers }, alike))
    }
}

impl Compared {
    /// The answer to this question is kept by this key: it can be given to those who mean the same.
    pub(super) fn keep(self, key: Key) {
        let Self { semantic, group, vector, numbers } = self;
        let entries = semantic.inner.groups.get_with(group, Arc::default);
        let mut entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| entry.key != key);
        if entries.len() >= Semantic::QUESTIONS {
            entries.pop_front();
        }
        entries.push_back(Entry { vector, numbers, key });
    }

    /// No answer is kept by this key any more.
    pub(crate) fn is_gone(&self, key: Key) {
        if let Some(entries) = self.semantic.inner.groups.get(&self.group) {
            let mut entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
            entries.retain(|entry| entry.key != key);
        }
    }
}

/// The one that is most like this.
fn nearest(entries: &[Entry], vector: &[f32]) -> Option<Alike> {
    // Vectors have length 1.
    let alike = |entry: &Entry| {
        let similarity = entry.vector.iter().zip(vector).map(|(a, b)| a * b).sum();
        Alike { key: entry.key, similarity }
    };
    entries.iter().map(alike).max_by(|a, b| a.similarity.total_cmp(&b.similarity))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(json: &str) -> Option<Meaning> {
        let body = serde_json::from_str(json).expect("an object");
        Meaning::of(KeyBuilder::new("test"), &body)
    }

    #[test]
    fn only_what_the_user_said_last_may_differ() {
        let one = meaning(r#"{"messages":[{"role":"user","content":"in 1990 or 2 years later"}]}"#);
        let one = one.expect("comparable");
        assert_eq!((&*one.text, &*one.numbers), ("in 1990 or 2 years later", "1990 2"));
        let same = r#"{"messages":[{"content":"something else","role":"user"}]}"#;
        assert_eq!(meaning(same).expect("comparable").group, one.group);
        for other in [
            r#"{"messages":[{"role":"system","content":"x"},{"role":"user","content":"in 1990"}]}"#,
            r#"{"messages":[{"role":"user","content":"in 1990"}],"top_p":1}"#,
        ] {
            assert_ne!(meaning(other).expect("comparable").group, one.group, "{other}");
        }
        for none in [
            r#"{"messages":[]}"#,
            r#"{"messages":[{"role":"assistant","content":"x"}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"x"}]}]}"#,
        ] {
            assert_eq!(meaning(none), None, "{none}");
        }
    }

    #[test]
    fn the_nearest_is_found() {
        let entry = |vector: [f32; 2], part: &[u8]| Entry {
            vector: vector.into(),
            numbers: String::new(),
            key: KeyBuilder::new("test").part(part).finish(),
        };
        let entries = [entry([1.0, 0.0], b"a"), entry([0.6, 0.8], b"b")];
        let best = nearest(&entries, &[0.0, 1.0]).expect("one");
        assert!(best.key == entries[1].key && (best.similarity - 0.8).abs() < 1e-6);
        assert!(nearest(&[], &[1.0, 0.0]).is_none());
    }
}
