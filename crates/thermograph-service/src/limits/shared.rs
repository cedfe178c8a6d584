//! The same windows in Redis, for all instances: each step one script, so that none can race.

use std::{sync::LazyLock, time::Duration};

use redis::Script;

use super::{
    Kind, Rates, Refused, Standing,
    window::{SLOT, SPAN, ends},
};
use crate::redis::{Gone, Redis};

/// Counts a request and its tokens, unless that would be more than may be. The time is Redis', so
/// that it is the same for all.
///
/// A hash: what counts of requests and of tokens, and of each slot that.
static RESERVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{MOVE}
         local kinds = {{ 'r', 't' }}
         local limits = {{ tonumber(ARGV[3]), tonumber(ARGV[4]) }}
         local wanted = {{ 1, tonumber(ARGV[5]) }}
         local used = {{ 0, 0 }}
         for place, kind in ipairs(kinds) do
             used[place] = tonumber(redis.call('HGET', key, kind) or 0)
         end
         for place, kind in ipairs(kinds) do
             local over = used[place] + wanted[place] - limits[place]
             if limits[place] >= 0 and over > 0 then
                 local freed, slot = 0, now - span - 1
                 while freed < over and slot < now do
                     slot = slot + 1
                     freed = freed + tonumber(redis.call('HGET', key, kind .. slot) or 0)
                 end
                 return {{ place, now, used[1], used[2], slot, time[1], time[2] }}
             end
         end
         for place, kind in ipairs(kinds) do
             redis.call('HINCRBY', key, kind, wanted[place])
             redis.call('HINCRBY', key, kind .. now, wanted[place])
             used[place] = used[place] + wanted[place]
         end
         redis.call('EXPIRE', key, (span + 2) * ARGV[1])
         return {{ 0, now, used[1], used[2], now, time[1], time[2] }}"
    ))
});
/// Counts tokens that were used beyond those reserved, or takes back those that were not.
static SETTLE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{MOVE}
         local more, slot = tonumber(ARGV[3]), tonumber(ARGV[4])
         if more > 0 then slot = now end
         if slot >= now - span then
             redis.call('HINCRBY', key, 't', more)
             redis.call('HINCRBY', key, 't' .. slot, more)
             redis.call('EXPIRE', key, (span + 2) * ARGV[1])
         end
         return 0"
    ))
});
/// Moves the window on to the present slot.
const MOVE: &str = "
    local key, span = KEYS[1], tonumber(ARGV[2])
    local time = redis.call('TIME')
    local now = math.floor(time[1] / ARGV[1])
    local at = tonumber(redis.call('HGET', key, 'at') or now)
    if now - at > span then
        redis.call('DEL', key)
    else
        for slot = at - span, now - span - 1 do
            for _, kind in ipairs({ 'r', 't' }) do
                local old = redis.call('HGET', key, kind .. slot)
                if old then
                    redis.call('HINCRBY', key, kind, -old)
                    redis.call('HDEL', key, kind .. slot)
                end
            end
        end
    end
    redis.call('HSET', key, 'at', now)";

/// Reserves for a key; the slot that it was counted in.
pub(super) async fn reserve(
    redis: &Redis,
    name: &str,
    rates: Rates,
    tokens: u64,
) -> Result<Result<(u64, Standing), Refused>, Gone> {
    let limit =
        |limit: Option<u64>| limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
    let [place, now, requests, used, slot, seconds, micros]: [u64; 7] = redis
        .ask(|mut connection| {
            let mut call = RESERVE.prepare_invoke();
            call.key(redis.key("limit", name)).arg(SLOT.as_secs()).arg(SPAN);
            call.arg(limit(rates.requests)).arg(limit(rates.tokens)).arg(tokens);
            async move { call.invoke_async(&mut connection).await }
        })
        .await?;
    let time = Duration::from_secs(seconds) + Duration::from_micros(micros);
    let standing = Standing::new(rates, requests, used, ends(now).saturating_sub(time));
    Ok(match place {
        0 => Ok((now, standing)),
        place => {
            let kind = if place == 1 { Kind::Requests } else { Kind::Tokens };
            Err(Refused { kind, after: ends(slot).saturating_sub(time), standing })
        }
    })
}

/// Counts so many tokens more or less than were reserved in this slot.
pub(super) async fn settle(redis: &Redis, name: &str, more: i64, slot: u64) -> Result<(), Gone> {
    redis
        .ask(|mut connection| {
            let mut call = SETTLE.prepare_invoke();
            call.key(redis.key("limit", name)).arg(SLOT.as_secs()).arg(SPAN).arg(more).arg(slot);
            async move { call.invoke_async(&mut connection).await }
        })
        .await
}
