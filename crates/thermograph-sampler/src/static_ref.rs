//! A reference to a static that is replaced without a lock.

use std::{
    marker::PhantomData,
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

/// A reference to something that is never freed, or none; read and replaced without a lock.
///
/// ```
/// use std::sync::atomic::Ordering::{Acquire, Release};
///
/// use thermograph_sampler::StaticRef;
///
/// static NAME: StaticRef<String> = StaticRef::none();
///
/// assert_eq!(NAME.load(Acquire), None);
/// NAME.store(Some(Box::leak(Box::new("worker".to_owned()))), Release);
/// assert_eq!(NAME.load(Acquire).map(String::as_str), Some("worker"));
/// ```
#[derive(Debug)]
pub struct StaticRef<T: 'static> {
    pointer: AtomicPtr<T>,
    /// It gives out what was put in, from any thread.
    holds: PhantomData<&'static T>,
}

impl<T> StaticRef<T> {
    /// Makes one without a reference.
    pub const fn none() -> Self {
        Self { pointer: AtomicPtr::new(ptr::null_mut()), holds: PhantomData }
    }

    /// The reference that was stored last; `None` if there is none.
    #[inline]
    pub fn load(&self, ordering: Ordering) -> Option<&'static T> {
        let pointer = self.pointer.load(ordering);
        // SAFETY: it is null, or was made from a `&'static T` by `store`, its only writer. What the
        // reference promises of the value, it promises for ever and on every thread: a `StaticRef`
        // is shared between threads only if a `&'static T` is.
        unsafe { pointer.as_ref() }
    }

    /// Replaces the reference; `None` removes it.
    #[inline]
    pub fn store(&self, value: Option<&'static T>, ordering: Ordering) {
        let pointer = value.map_or(ptr::null_mut(), |value| ptr::from_ref(value).cast_mut());
        self.pointer.store(pointer, ordering);
    }
}

impl<T> Default for StaticRef<T> {
    fn default() -> Self {
        Self::none()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn what_was_stored_last_is_loaded() {
        static VALUES: [u32; 2] = [1, 2];
        let of = StaticRef::none();
        assert_eq!(of.load(Relaxed), None);
        of.store(Some(&VALUES[0]), Relaxed);
        of.store(Some(&VALUES[1]), Relaxed);
        assert_eq!(of.load(Relaxed), Some(&2));
        of.store(None, Relaxed);
        assert_eq!(of.load(Relaxed), None);
    }
}
