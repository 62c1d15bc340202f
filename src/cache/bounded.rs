//! A map with a limit for the number of its entries and a limit for their bytes.

use quick_cache::{
    DefaultHashBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};

/// A value that estimates the bytes of its entry.
pub(crate) trait EntrySize {
    fn entry_size(&self) -> u64;
}

/// Enforces both limits with one weight per entry: the number of its bytes, but at least `bytes / (entries + 0.5)`. So
/// neither the number of entries nor the sum of their bytes can exceed its limit. (Without the 0.5, rounding in the
/// segment would reject the only entry of a cache with `entries` = 1.)
pub(crate) fn bounded_by_size<K, V>(entries: usize, bytes: u64) -> Cache<K, V, BySize>
where
    K: Eq + std::hash::Hash,
    V: Clone + EntrySize,
{
    let halves = u64_of(entries).saturating_mul(2).saturating_add(1);
    let least = (bytes.saturating_mul(2) / halves).max(1);
    // The segment is divided into shards by the number of cores, but each shard expects at least 32 entries. A
    // large expected size keeps a shard at 1 MiB, so that a large entry also fits on a machine with many cores.
    let expected = usize::try_from(bytes / (32 << 10)).unwrap_or(usize::MAX).min(entries);
    segment(expected, bytes, BySize { least })
}

#[derive(Clone)]
pub(crate) struct BySize {
    least: u64,
}

impl<K, V: EntrySize> Weighter<K, V> for BySize {
    fn weight(&self, _: &K, value: &V) -> u64 {
        value.entry_size().max(self.least)
    }
}

pub(super) fn segment<K, V, W>(expected: usize, weight: u64, weighter: W) -> Cache<K, V, W>
where
    K: Eq + std::hash::Hash,
    V: Clone,
    W: Weighter<K, V> + Clone,
{
    let hasher = DefaultHashBuilder::default();
    Cache::with(expected, weight, weighter, hasher, DefaultLifecycle::default())
}

pub(super) fn u64_of(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
