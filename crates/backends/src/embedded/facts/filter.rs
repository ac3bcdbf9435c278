//! A set of fingerprints in memory that may hold more than was put into it, and never less.

use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::Xxh3Default;

use super::super::io::to_u64;
use super::super::limits::PIECE_BYTES;
use super::{Fingerprint, half_of, hash_of};

/// Bits for each fingerprint: some four in ten thousand absent ones may be there. Each of those is looked for in every file of
/// its group: with 14 bits and a hundred million keys that was once for each new key.
const BITS_EACH: u64 = 20;

const WORDS_A_BLOCK: usize = 8;

/// Bytes of a block in a file.
const BLOCK_BYTES: usize = WORDS_A_BLOCK * 8;

/// One line of a processor's cache.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Block([AtomicU64; WORDS_A_BLOCK]);

/// One bit in each word of one block for each fingerprint. One thread puts; any ask.
#[derive(Debug)]
pub(super) struct Filter {
    blocks: Vec<Block>,
    /// Fingerprints it is made for.
    capacity: u64,
    held: AtomicU64,
}

impl Filter {
    pub(super) fn new(capacity: u64) -> Self {
        let count = (capacity.saturating_mul(BITS_EACH)).div_ceil(to_u64(BLOCK_BYTES) * 8).max(1);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let blocks = std::iter::repeat_with(Block::default).take(count).collect();
        Self { blocks, capacity, held: AtomicU64::new(0) }
    }

    /// The block of a fingerprint, by its first half, and the bit in each word of it, by the second.
    fn place(&self, fingerprint: Fingerprint) -> Option<(&Block, [u64; WORDS_A_BLOCK])> {
        let (first, second) = (half_of(fingerprint), hash_of(fingerprint));
        let block = (u128::from(first) * u128::from(to_u64(self.blocks.len()))) >> 64;
        let block = self.blocks.get(usize::try_from(block).ok()?)?;
        Some((block, [0, 6, 12, 18, 24, 30, 36, 42].map(|shift| 1 << ((second >> shift) & 63))))
    }

    pub(super) fn put(&self, fingerprint: Fingerprint) {
        let Some((block, bits)) = self.place(fingerprint) else { return };
        for (word, bit) in block.0.iter().zip(bits) {
            word.store(word.load(Ordering::Relaxed) | bit, Ordering::Relaxed);
        }
        self.held.store(self.held() + 1, Ordering::Relaxed);
    }

    /// Puts it unless it may be there: then [`Self::held`] counts different ones.
    pub(super) fn put_once(&self, fingerprint: Fingerprint) {
        if !self.may_hold(fingerprint) {
            self.put(fingerprint);
        }
    }

    pub(super) fn may_hold(&self, fingerprint: Fingerprint) -> bool {
        let Some((block, bits)) = self.place(fingerprint) else { return true };
        block.0.iter().zip(bits).all(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    /// Whether the first word does not rule it out. There is nothing to branch on: several filters are asked one after
    /// the other before the memory of the first has answered.
    pub(super) fn glance(&self, fingerprint: Fingerprint) -> bool {
        let Some((Block([word, ..]), [bit, ..])) = self.place(fingerprint) else { return true };
        word.load(Ordering::Relaxed) & bit != 0
    }

    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    pub(super) fn is_full(&self) -> bool {
        self.held() >= self.capacity
    }

    pub(super) const fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Bytes of its blocks in a file.
    pub(super) fn bytes(&self) -> u64 {
        to_u64(self.blocks.len()) * to_u64(BLOCK_BYTES)
    }

    /// Hands its blocks over in pieces, and says their checksum.
    pub(super) fn write<E>(&self, mut write: impl FnMut(&[u8]) -> Result<(), E>) -> Result<u64, E> {
        let mut hasher = Xxh3Default::new();
        let mut piece = Vec::new();
        for blocks in self.blocks.chunks(PIECE_BYTES / BLOCK_BYTES) {
            piece.clear();
            for word in blocks.iter().flat_map(|block| &block.0) {
                piece.extend_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
            }
            hasher.update(&piece);
            write(&piece)?;
        }
        Ok(hasher.digest())
    }

    /// Takes blocks that [`Self::write`] handed over; false when they are not those with that checksum.
    pub(super) fn read<E>(
        &self,
        checksum: u64,
        held: u64,
        mut read: impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<bool, E> {
        let mut hasher = Xxh3Default::new();
        let mut piece = Vec::new();
        for blocks in self.blocks.chunks(PIECE_BYTES / BLOCK_BYTES) {
            piece.resize(blocks.len() * BLOCK_BYTES, 0);
            read(&mut piece)?;
            hasher.update(&piece);
            let words = blocks.iter().flat_map(|block| &block.0);
            for (word, bytes) in words.zip(piece.as_chunks::<8>().0) {
                word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
            }
        }
        self.held.store(held, Ordering::Relaxed);
        Ok(hasher.digest() == checksum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_forgets_nothing_and_takes_few_for_what_they_are_not() {
        let mut rng = fastrand::Rng::with_seed(5);
        let [held, absent] = [100_000, 1_000_000].map(|count| {
            std::iter::repeat_with(|| rng.u128(..).to_be_bytes()).take(count).collect::<Vec<_>>()
        });
        let filter = Filter::new(100_000);
        held.iter().for_each(|fingerprint| filter.put(*fingerprint));
        assert!(held.iter().all(|fingerprint| filter.may_hold(*fingerprint)));
        let wrong = absent.iter().filter(|fingerprint| filter.may_hold(**fingerprint)).count();
        assert!(wrong < 700, "{wrong} of a million absent ones may be there");
        held.iter().for_each(|fingerprint| filter.put_once(*fingerprint));
        assert_eq!(filter.held(), 100_000);
    }

    #[test]
    fn a_filter_is_read_as_it_was_written_or_not_at_all() {
        let mut rng = fastrand::Rng::with_seed(6);
        let filter = Filter::new(5_000);
        (0..5_000).for_each(|_| filter.put(rng.u128(..).to_be_bytes()));
        let mut bytes = Vec::new();
        let push = |piece: &[u8]| {
            bytes.extend_from_slice(piece);
            Ok::<_, ()>(())
        };
        let checksum = filter.write(push).unwrap();
        assert_eq!(to_u64(bytes.len()), filter.bytes());
        let read = |bytes: &[u8]| {
            let (copy, mut at) = (Filter::new(filter.capacity()), 0);
            let whole = copy.read(checksum, filter.held(), |piece: &mut [u8]| {
                piece.copy_from_slice(&bytes[at..at + piece.len()]);
                at += piece.len();
                Ok::<_, ()>(())
            });
            whole.unwrap().then_some(copy)
        };
        let copy = read(&bytes).expect("the same checksum");
        let same = copy.write(|_| Ok::<_, ()>(())).unwrap();
        assert_eq!((same, copy.held()), (checksum, filter.held()));
        bytes[777] ^= 4;
        assert!(read(&bytes).is_none());
    }
}
