//! One question, asked by one instance: a lock in Redis, held while it is asked.

use std::{sync::LazyLock, time::Duration};

use redis::{FromRedisValue, ParsingError, Script, Value};
use thermograph_common::task;
use tokio::{sync::oneshot, time};
use uuid::Builder;

use crate::redis::{Gone, Redis};

/// Looks for what is kept; where something is missing, takes the lock unless somebody has it.
static FIND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local lock = table.remove(KEYS)
         local found = redis.call('MGET', unpack(KEYS))
         local state = 'all'
         for place = 1, #KEYS do
             if not found[place] then state = 'other' end
         end
         if state == 'other' and redis.call('SET', lock, ARGV[1], 'NX', 'PX', ARGV[2]) then
             state = 'mine'
         end
         table.insert(found, state)
         return found",
    )
});
/// Keeps the lock for longer, if it is still ours.
static EXTEND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GET', KEYS[1]) == ARGV[1] then
             return redis.call('PEXPIRE', KEYS[1], ARGV[2])
         end
         return 0",
    )
});
/// Gives the lock back, if it is still ours.
static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
         return 0",
    )
});

/// How long a lock is there whose holder says nothing more: it was killed.
const TTL: Duration = Duration::from_secs(5);

/// A lock that is held; given back when this is dropped.
pub(super) struct Lock {
    _held: oneshot::Sender<()>,
}

/// What Redis has of some keys.
pub(super) struct Remote {
    /// Of each key what is kept.
    pub(super) values: Vec<Option<Vec<u8>>>,
    pub(super) asked: Asked,
}

/// Who asks for what is missing.
pub(super) enum Asked {
    /// Nothing is missing.
    Nobody,
    /// We do.
    Here(Lock),
    /// Another instance does.
    Elsewhere,
}

/// Looks for what is kept by these names; where something is missing, takes the lock of this name.
pub(super) async fn find(redis: &Redis, names: &[String], lock: &str) -> Result<Remote, Gone> {
    let token = token();
    let answer: Found = redis
        .ask(|mut connection| {
            let mut call = FIND.prepare_invoke();
            for name in names {
                call.key(name);
            }
            call.key(lock).arg(&token).arg(TTL.as_millis() as u64);
            async move { call.invoke_async(&mut connection).await }
        })
        .await?;
    let Found { values, state } = answer;
    let asked = match state.as_str() {
        "mine" => Asked::Here(hold(redis.clone(), lock.to_owned(), token)),
        "all" => Asked::Nobody,
        _ => Asked::Elsewhere,
    };
    Ok(Remote { values, asked })
}

/// Keeps the lock until it is dropped.
fn hold(redis: Redis, name: String, token: String) -> Lock {
    let (held, mut dropped) = oneshot::channel();
    task::spawn("cache lock", async move {
        // Cancel-safe: a channel that is not closed now is closed later.
        while time::timeout(TTL / 3, &mut dropped).await.is_err() {
            // If that fails, another may ask, too: the answer is as good.
            let _: Result<u32, Gone> = redis
                .ask(|mut connection| {
                    let mut call = EXTEND.prepare_invoke();
                    call.key(&name).arg(&token).arg(TTL.as_millis() as u64);
                    async move { call.invoke_async(&mut connection).await }
                })
                .await;
        }
        // If that fails, it ends by itself.
        let _: Result<u32, Gone> = redis
            .ask(|mut connection| {
                let mut call = RELEASE.prepare_invoke();
                call.key(&name).arg(&token);
                async move { call.invoke_async(&mut connection).await }
            })
            .await;
    });
    Lock { _held: held }
}

/// By chance, but no secret: who holds a lock.
fn token() -> String {
    let mut chance = [0; 16];
    fastrand::fill(&mut chance);
    Builder::from_random_bytes(chance).into_uuid().simple().to_string()
}

/// What the script answers: values, and a word at the end.
struct Found {
    values: Vec<Option<Vec<u8>>>,
    state: String,
}

impl FromRedisValue for Found {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let mut values = Vec::<Value>::from_redis_value(value)?;
        let state = values.pop().unwrap_or(Value::Nil);
        Ok(Self {
            values: values
                .into_iter()
                .map(FromRedisValue::from_redis_value)
                .collect::<Result<_, _>>()?,
            state: String::from_redis_value(state)?,
        })
    }
}
