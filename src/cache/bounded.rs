//! A map with a limit on its entries and on their bytes.

use quick_cache::{
    DefaultHashBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};

/// A value that states about how many bytes its entry takes.
pub(crate) trait EntrySize {
    fn entry_size(&self) -> u64;
}

/// Keeps both bounds with one weight: an entry weighs its bytes, but at least what one of `entries` and a half may.
/// Neither the number of entries nor the sum of their bytes can then exceed its bound. (The half is room for the
/// segment's own rounding, which would otherwise refuse the only entry of a cache of one.)
pub(crate) fn bounded_by_size<K, V>(entries: usize, bytes: u64) -> Cache<K, V, BySize>
where
    K: Eq + std::hash::Hash,
    V: Clone + EntrySize,
{
    let halves = u64_of(entries).saturating_mul(2).saturating_add(1);
    let least = (bytes.saturating_mul(2) / halves).max(1);
    // The segment divides itself by the number of cores, but into shards of 32 expected entries at least. Expecting them
    // large keeps a shard at 1 MiB, so that on a large machine, too, a large entry fits into one.
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
