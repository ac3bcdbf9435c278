//! A limit on requests a second from one address: a bucket that fills evenly.

use std::collections::HashMap;
use std::mem;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::RATE_ADDRESSES_MAX;

/// A bucket that was not touched for so long is full again, and need not be kept.
const FULL_AFTER: Duration = Duration::from_secs(1);

/// Buckets by address. The machine itself is never limited.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    per_second: f64,
    addresses_max: usize,
    buckets: Mutex<Buckets>,
}

/// Two generations, so that the addresses touched longest ago are forgotten first, and all at once. While fewer than half
/// of the bound come in a second, every bucket that is forgotten is full: forgetting it gives nobody anything.
#[derive(Debug)]
struct Buckets {
    /// Touched since `young_since`.
    young: HashMap<IpAddr, Bucket>,
    /// Touched in the generation before, and not since.
    old: HashMap<IpAddr, Bucket>,
    young_since: Option<Instant>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled_at: Instant,
}

impl RateLimiter {
    pub(crate) fn new(per_second: u32) -> Self {
        Self::with_addresses(per_second, RATE_ADDRESSES_MAX)
    }

    fn with_addresses(per_second: u32, addresses_max: usize) -> Self {
        let buckets = Buckets { young: HashMap::new(), old: HashMap::new(), young_since: None };
        Self { per_second: f64::from(per_second), addresses_max, buckets: Mutex::new(buckets) }
    }

    /// Whether one more request from an address may pass now.
    pub(crate) fn admits(&self, address: IpAddr, now: Instant) -> bool {
        // A socket for both families shows addresses of version 4 as ones of version 6.
        let address = address.to_canonical();
        if address.is_loopback() {
            return true;
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.age(address, now, self.addresses_max / 2);
        let Buckets { young, old, .. } = &mut *buckets;
        let bucket = young.entry(address).or_insert_with(|| {
            old.remove(&address).unwrap_or(Bucket { tokens: self.per_second, filled_at: now })
        });
        let elapsed = now.saturating_duration_since(bucket.filled_at).as_secs_f64();
        bucket.tokens = elapsed.mul_add(self.per_second, bucket.tokens).min(self.per_second);
        bucket.filled_at = now;
        let admitted = bucket.tokens >= 1.0;
        if admitted {
            bucket.tokens -= 1.0;
        }
        admitted
    }
}

impl Buckets {
    /// Begins a new generation when the young one is a second old, or has no room for one more address.
    fn age(&mut self, address: IpAddr, now: Instant, addresses_max: usize) {
        let since = *self.young_since.get_or_insert(now);
        let is_full = self.young.len() >= addresses_max && !self.young.contains_key(&address);
        if is_full || now.saturating_duration_since(since) >= FULL_AFTER {
            self.old = mem::take(&mut self.young);
            self.young_since = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills() {
        let limiter = RateLimiter::new(10);
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let start = Instant::now();
        let admitted = |address, at| (0..100).filter(|_| limiter.admits(address, at)).count();
        assert_eq!(admitted(one, start), 10);
        assert_eq!(admitted(other, start), 10);
        assert_eq!(admitted(one, start + Duration::from_millis(500)), 5);
        assert_eq!(admitted(IpAddr::from([127, 0, 0, 1]), start), 100);
        let mapped = |address: &str| format!("::ffff:{address}").parse::<IpAddr>().expect("an address");
        assert_eq!(admitted(mapped("127.0.0.1"), start), 100);
        assert_eq!(admitted(mapped("10.0.0.2"), start), 0, "the same address has one bucket");
    }

    #[test]
    fn many_addresses_do_not_refill_the_bucket_of_one_that_keeps_asking() {
        let limiter = RateLimiter::with_addresses(2, 100);
        let (busy, start) = (IpAddr::from([10, 0, 0, 1]), Instant::now());
        let others = (0..=255).flat_map(|high| (0..=255).map(move |low| IpAddr::from([10, 1, high, low])));
        let mut admitted = 0;
        for (number, other) in others.take(10_000).enumerate() {
            assert!(limiter.admits(other, start), "{other} has not asked before");
            if number % 10 == 0 {
                admitted += usize::from(limiter.admits(busy, start));
            }
        }
        assert_eq!(admitted, 2);
        let buckets = limiter.buckets.lock().expect("no thread panicked");
        assert!(buckets.young.len() <= 50 && buckets.old.len() <= 50, "no more than the bound are kept");
    }
}
