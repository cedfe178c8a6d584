//! What was used in the last minute, in slots of two seconds.
//!
//! Not a token bucket, which lets twice its size through in a minute: here no minute, wherever it
//! begins, has more than the limit. The price is that a slot is counted until the last of it is a
//! minute old: up to 62 s, so that of a limit that is always wanted 97 % can be had.

use std::time::Duration;

/// Length of a slot.
pub(super) const SLOT: Duration = Duration::from_secs(2);
/// Slots before the present one that count.
pub(super) const SPAN: u64 = 30;

/// Uses in the slots of the last minute.
#[derive(Debug, Default)]
pub(super) struct Window {
    slots: [u64; SPAN as usize + 1],
    newest: u64,
    used: u64,
}

impl Window {
    /// What counts at this time, which never goes back.
    pub(super) fn used(&mut self, now: Duration) -> u64 {
        self.advance(slot(now));
        self.used
    }

    /// Counts more in the present slot, which is returned.
    pub(super) fn add(&mut self, now: Duration, more: u64) -> u64 {
        let slot = slot(now);
        self.advance(slot);
        *self.at(slot) += more;
        self.used += more;
        slot
    }

    /// Takes back what was counted in a slot, if that counts still.
    pub(super) fn take_back(&mut self, slot: u64, less: u64) {
        if slot + SPAN >= self.newest && slot <= self.newest {
            let counted = self.at(slot);
            let less = less.min(*counted);
            *counted -= less;
            self.used -= less;
        }
    }

    /// How long until so much counts no more.
    pub(super) fn frees(&mut self, now: Duration, wanted: u64) -> Duration {
        self.advance(slot(now));
        let mut freed = 0;
        let oldest = self.newest.saturating_sub(SPAN);
        let enough = (oldest..=self.newest).find(|slot| {
            freed += *self.at(*slot);
            freed >= wanted
        });
        ends(enough.unwrap_or(self.newest)).saturating_sub(now)
    }

    fn advance(&mut self, slot: u64) {
        let gone = slot.saturating_sub(self.newest).min(SPAN + 1);
        for one in 0..gone {
            let old = std::mem::take(self.at(self.newest + 1 + one));
            self.used -= old;
        }
        self.newest = self.newest.max(slot);
    }

    fn at(&mut self, slot: u64) -> &mut u64 {
        &mut self.slots[(slot % (SPAN + 1)) as usize]
    }
}

/// The slot of a time since 1970.
pub(super) fn slot(now: Duration) -> u64 {
    now.as_secs() / SLOT.as_secs()
}

/// When a slot counts no more.
pub(super) fn ends(slot: u64) -> Duration {
    SLOT.saturating_mul(u32::try_from(slot + SPAN + 1).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(1_000_000 + seconds)
    }

    #[test]
    fn what_is_a_minute_old_counts_no_more() {
        let mut window = Window::default();
        let slot = window.add(seconds(0), 3);
        window.add(seconds(30), 4);
        assert_eq!(window.used(seconds(60)), 7);
        assert_eq!(window.frees(seconds(60), 3), Duration::from_secs(2));
        assert_eq!(window.frees(seconds(60), 4), Duration::from_secs(32));
        assert_eq!(window.used(seconds(62)), 4);
        // Too late to take anything back.
        window.take_back(slot, 3);
        assert_eq!(window.used(seconds(62)), 4);
        assert_eq!(window.used(seconds(10_000)), 0);
    }

    #[test]
    fn what_was_not_used_is_taken_back() {
        let mut window = Window::default();
        let slot = window.add(seconds(1), 10);
        window.add(seconds(5), 1);
        window.take_back(slot, 8);
        assert_eq!(window.used(seconds(5)), 3);
        window.take_back(slot, 8);
        assert_eq!(window.used(seconds(5)), 1);
    }

    proptest! {
        /// No minute has more than the limit, and a limit that is always wanted is nearly had.
        #[test]
        fn no_minute_has_more_than_the_limit(steps in prop::collection::vec(0_u64..3000, 1..400)) {
            const LIMIT: u64 = 20;
            const MINUTE: Duration = Duration::from_mins(1);
            let (mut window, mut now) = (Window::default(), Duration::from_secs(5_000_000));
            let mut had: Vec<Duration> = Vec::new();
            for step in steps {
                now += Duration::from_millis(step);
                while window.used(now) < LIMIT {
                    window.add(now, 1);
                    had.push(now);
                }
            }
            for (place, first) in had.iter().enumerate() {
                let minute = had[place..].iter().take_while(|at| at.saturating_sub(*first) < MINUTE);
                prop_assert!(minute.count() as u64 <= LIMIT);
            }
            let wanted = now.saturating_sub(had[0]).as_secs() / 65 * LIMIT;
            prop_assert!(had.len() as u64 >= wanted);
        }
    }
}
