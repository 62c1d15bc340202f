//! The stream of records: its commands, and their responses.

use std::time::Duration;

use actix_protect_api::{
    StoreError,
    shared_store::{Position, RecordBatch},
};
use redis::{Cmd, Pipeline, RedisResult, Value, cmd, from_redis_value};

/// The name of the field that contains a record.
const FIELD: &str = "r";

/// The name of the field that contains the seconds for which the record is kept.
const KEEP: &str = "k";

/// The number of the oldest entries that are checked at once.
const OLDEST: usize = 100;

/// The number of records that are read at once.
const COUNT: u32 = 1000;

pub(crate) fn append(stream: &str, record: &[u8], keep_for: Duration) -> Cmd {
    // Rounded up, and never zero.
    let seconds = keep_for.as_secs().saturating_add(1);
    let mut command = cmd("XADD");
    command.arg(stream).arg("*").arg(FIELD).arg(record).arg(KEEP).arg(seconds);
    command
}

/// Waits for a record after this position, and reads the state of the stream and the records.
///
/// The last command cannot append a record, because its identifier is too small. Its error shows whether the server accepts
/// writes: see [`is_read_only`].
///
/// This is not a transaction: a server whose memory is full rejects every command in a transaction, also those that only
/// read. The state is read before the records, so that [`batch`] can omit records that were appended in between.
pub(crate) fn read(stream: &str, after: Position, wait: Duration) -> Pipeline {
    let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
    let after = after.to_string();
    let mut pipeline = redis::pipe();
    pipeline.ignore_errors();
    pipeline.cmd("XREAD").arg("BLOCK").arg(milliseconds).arg("COUNT").arg(1);
    pipeline.arg("STREAMS").arg(stream).arg(&after).ignore();
    pipeline.cmd("XINFO").arg("STREAM").arg(stream);
    pipeline.cmd("TIME");
    pipeline.cmd("XREAD").arg("COUNT").arg(COUNT).arg("STREAMS").arg(stream).arg(&after);
    pipeline.cmd("XADD").arg(stream).arg("NOMKSTREAM").arg("0-1").arg(FIELD).arg("");
    pipeline
}

/// Reads entries after this position, oldest first, and the time of the server.
pub(crate) fn oldest(stream: &str, after: Position) -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.cmd("XRANGE").arg(stream).arg(format!("({after}")).arg("+").arg("COUNT").arg(OLDEST);
    pipeline.cmd("TIME");
    pipeline
}

pub(crate) fn delete(stream: &str, positions: &[Position]) -> Cmd {
    let mut command = cmd("XDEL");
    command.arg(stream);
    for position in positions {
        command.arg(position.to_string());
    }
    command
}

pub(crate) fn trim(stream: &str, before: Position) -> Cmd {
    let mut command = cmd("XTRIM");
    command.arg(stream).arg("MINID").arg(before.to_string());
    command
}

/// The entries of one page of [`oldest`] whose time is over.
#[derive(Default)]
pub(crate) struct Over {
    /// The last one before the first entry that is still needed. There is none if the page starts with such an entry.
    pub(crate) first: Option<Position>,
    /// Those behind an entry that is still needed.
    pub(crate) others: Vec<Position>,
    /// The end of the page. `None` if no later entry has to be checked.
    pub(crate) next: Option<Position>,
}

impl Over {
    /// Reads the response to [`oldest`]. `is_start` states whether all entries before the page are over. Entries that are younger
    /// than `keep_for` are not over.
    pub(crate) fn read((entries, time): (Value, Value), is_start: bool, keep_for: Duration) -> Option<Self> {
        let Value::Array(entries) = entries else { return None };
        let (now, is_full) = (milliseconds(time)?, entries.len() == OLDEST);
        let (mut over, mut is_start, mut last) = (Self::default(), is_start, None);
        for value in entries {
            let (position, fields) = split(value)?;
            last = Some(position);
            let kept = fields.into_iter().find(|(name, _)| is_named(name, KEEP));
            let seconds = kept.and_then(|(_, seconds)| from_redis_value::<u64>(seconds).ok());
            // An entry of another program is deleted with the records before it.
            let until = position.high().saturating_add(seconds.unwrap_or(0).saturating_mul(1000));
            match (until <= now, is_start) {
                (true, true) => over.first = Some(position),
                (true, false) => over.others.push(position),
                (false, _) => is_start = false,
            }
        }
        let keep_for = u64::try_from(keep_for.as_millis()).unwrap_or(u64::MAX);
        over.next = last.filter(|last| is_full && last.high().saturating_add(keep_for) <= now);
        Some(over)
    }
}

/// Reads the position of an entry id.
pub(crate) fn position(id: &str) -> Option<Position> {
    let (high, low) = id.split_once('-')?;
    Some(Position::new(high.parse().ok()?, low.parse().ok()?))
}

/// Returns the response to [`read`], or the error of a server that is not the primary any more. It still responds to reads, so its
/// connection must be replaced: the next one may lead to the new primary.
pub(crate) fn from_primary(mut response: Vec<RedisResult<Value>>) -> RedisResult<Vec<RedisResult<Value>>> {
    let is_replica =
        |probe: &mut RedisResult<Value>| probe.as_ref().is_err_and(|error| error.code() == Some("READONLY"));
    match response.pop_if(is_replica) {
        Some(Err(error)) => Err(error),
        _ => Ok(response),
    }
}

/// Returns whether the server has rejected the last command of [`read`] before it looked at the identifier. The code of these
/// errors is for example `OOM`, `MISCONF`, `NOREPLICAS` or `NOPERM`.
fn is_read_only(probe: &RedisResult<Value>) -> bool {
    probe.as_ref().is_err_and(|error| error.code() != Some("ERR"))
}

/// Reads the response to [`read`].
pub(crate) fn batch(response: Vec<RedisResult<Value>>) -> Result<RecordBatch, StoreError> {
    let [info, time, records, probe] = <[_; 4]>::try_from(response).map_err(|_| malformed())?;
    let now = milliseconds(time.map_err(StoreError::new)?).ok_or_else(malformed)?;
    let mut batch = RecordBatch::default();
    batch.unix_time = i64::try_from(now / 1000).ok();
    batch.is_read_only = is_read_only(&probe);
    let info = match info {
        Ok(info) => info,
        // The stream does not exist.
        Err(error) if error.detail().is_some_and(|detail| detail.contains("no such key")) => {
            return Ok(batch);
        }
        Err(error) => return Err(StoreError::new(error)),
    };
    let info = Info::read(info).ok_or_else(malformed)?;
    let end = info.last.ok_or_else(malformed)?;
    batch.end = Some(end);
    batch.records = match records.map_err(StoreError::new)? {
        Value::Nil => Vec::new(),
        streams => streams_entries(streams).ok_or_else(malformed)?,
    };
    batch.records.retain(|(position, _)| *position <= end);
    batch.total_appended =
        info.total_appended.ok_or_else(|| StoreError::new("expected Redis 7.0 or later, or Valkey"))?;
    batch.length = info.length.ok_or_else(malformed)?;
    if batch.length > 0 {
        let first = info.first.ok_or_else(malformed)?;
        batch.oldest_age = Some(Duration::from_millis(now.saturating_sub(first.high())));
    }
    Ok(batch)
}

#[derive(Default)]
struct Info {
    length: Option<u64>,
    total_appended: Option<u64>,
    last: Option<Position>,
    first: Option<Position>,
}

impl Info {
    /// Reads the response of `XINFO STREAM`, in which new versions of Redis may add fields.
    fn read(value: Value) -> Option<Self> {
        let mut info = Self::default();
        for (name, value) in pairs(value)? {
            let name: String = from_redis_value(name).ok()?;
            match name.as_str() {
                "length" => info.length = from_redis_value(value).ok(),
                "entries-added" => info.total_appended = from_redis_value(value).ok(),
                "last-generated-id" => info.last = id(value),
                "recorded-first-entry-id" => info.first = id(value),
                _ => {}
            }
        }
        Some(info)
    }
}

/// Returns the entries of the only stream in the response of `XREAD`.
fn streams_entries(value: Value) -> Option<Vec<(Position, Vec<u8>)>> {
    let (_, entries_of_stream) = match value {
        // RESP2: an array of pairs.
        Value::Array(streams) => {
            let [stream] = <[Value; 1]>::try_from(streams).ok()?;
            let Value::Array(pair) = stream else { return None };
            let [name, entries] = <[Value; 2]>::try_from(pair).ok()?;
            (name, entries)
        }
        // RESP3.
        Value::Map(streams) => {
            let [stream] = <[(Value, Value); 1]>::try_from(streams).ok()?;
            stream
        }
        _ => return None,
    };
    entries(entries_of_stream)
}

fn entries(value: Value) -> Option<Vec<(Position, Vec<u8>)>> {
    let Value::Array(entries) = value else { return None };
    entries.into_iter().map(entry).collect()
}

/// Returns the position and the record. An entry of another program has no such field: its record is empty, and
/// cannot be decrypted.
fn entry(value: Value) -> Option<(Position, Vec<u8>)> {
    let (position, fields) = split(value)?;
    let mut record = Vec::new();
    for (name, value) in fields {
        if is_named(&name, FIELD) {
            record = from_redis_value(value).ok()?;
        }
    }
    Some((position, record))
}

/// Returns the position and the fields of an entry.
fn split(value: Value) -> Option<(Position, Vec<(Value, Value)>)> {
    let Value::Array(parts) = value else { return None };
    let [entry_id, fields] = <[Value; 2]>::try_from(parts).ok()?;
    Some((id(entry_id)?, pairs(fields)?))
}

fn is_named(name: &Value, expected: &str) -> bool {
    redis::from_redis_value_ref::<Vec<u8>>(name).is_ok_and(|name| name == expected.as_bytes())
}

fn pairs(value: Value) -> Option<Vec<(Value, Value)>> {
    match value {
        Value::Map(pairs) => Some(pairs),
        Value::Array(items) => {
            let mut items = items.into_iter();
            let mut pairs = Vec::new();
            while let Some(name) = items.next() {
                pairs.push((name, items.next()?));
            }
            Some(pairs)
        }
        _ => None,
    }
}

fn id(value: Value) -> Option<Position> {
    position(&from_redis_value::<String>(value).ok()?)
}

/// Reads the response of `TIME`: seconds and microseconds.
fn milliseconds(value: Value) -> Option<u64> {
    let (seconds, microseconds): (u64, u64) = from_redis_value(value).ok()?;
    seconds.checked_mul(1000)?.checked_add(microseconds / 1000)
}

pub(crate) fn malformed() -> StoreError {
    StoreError::new("the response of Redis is malformed")
}
