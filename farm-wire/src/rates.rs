//! How often one address may ask: so that nobody takes all the places, or the
//! processor's time, for himself.
//!
//! Only addresses that are known to receive what is sent to them are counted;
//! else a stranger could use up the share of somebody whose address he writes on
//! his packets.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::DefaultClock;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};

/// Addresses are forgotten that have all of their share again, once in so many
/// questions: what is kept is then a few dozen bytes for each that asked lately.
const CLEAN_EVERY: u32 = 1024;

/// A share of what may be asked for each address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// How many at once.
    pub(crate) burst: NonZeroU32,
    /// Time after which there is one more.
    pub(crate) pause: Duration,
}

/// Counts by address; an IPv6 network of 64 bits is one, as it is one customer's.
#[derive(Debug)]
pub(crate) struct Rates {
    limiter: RateLimiter<IpAddr, DefaultKeyedStateStore<IpAddr>, DefaultClock>,
    questions: AtomicU32,
}

impl Rates {
    pub(crate) fn new(share: Share) -> Self {
        let quota = Quota::with_period(share.pause).unwrap_or(Quota::per_second(NonZeroU32::MAX));
        let limiter = RateLimiter::keyed(quota.allow_burst(share.burst));
        Self { limiter, questions: AtomicU32::new(0) }
    }

    /// Whether an address may, this time; it is counted if so.
    pub(crate) fn allow(&self, address: IpAddr) -> bool {
        if self.questions.fetch_add(1, Ordering::Relaxed) % CLEAN_EVERY == CLEAN_EVERY - 1 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        self.limiter.check_key(&network_of(address)).is_ok()
    }
}

/// What counts as one address.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn address_that_used_up_its_share_waits_and_no_other_does() {
        let burst = NonZeroU32::new(3).expect("it is not 0");
        let rates = Rates::new(Share { burst, pause: Duration::from_secs(3600) });
        let (greedy, other) = (address("203.0.113.7"), address("203.0.113.8"));
        assert_eq!([(); 5].map(|()| rates.allow(greedy)), [true, true, true, false, false]);
        assert!(rates.allow(other));
        assert!(!rates.allow(address("::ffff:203.0.113.7")), "the same, written otherwise");
    }

    #[test]
    fn network_of_a_customer_is_one_address() {
        let of = |text| network_of(address(text));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn addresses_that_waited_are_forgotten() {
        let burst = NonZeroU32::new(1).expect("it is not 0");
        let rates = Rates::new(Share { burst, pause: Duration::from_nanos(1) });
        for number in 0..CLEAN_EVERY * 4 {
            rates.allow(IpAddr::V4(number.into()));
        }
        assert!(rates.limiter.len() <= CLEAN_EVERY as usize, "{}", rates.limiter.len());
    }
}
