// SPDX-License-Identifier: GPL-2.0-only
//! The guest's lock, which knows whether this thread holds it.

use std::cell::Cell;

use lock_api::RawMutex;

thread_local! {
    static HELD: Cell<bool> = const { Cell::new(false) };
    static FREE: Cell<bool> = const { Cell::new(false) };
}

/// A lock that other threads run beside, however few processors there are.
pub struct Watched(spin::Mutex<()>);

/// Whether this thread holds a guest's lock.
pub fn held() -> bool {
    HELD.get()
}

/// Whether this thread is within [`unlocked`].
pub fn may_be_free() -> bool {
    FREE.get()
}

/// An assignment or a release, of which the lock is held for a part only.
pub fn unlocked<T>(act: impl FnOnce() -> T) -> T {
    FREE.set(true);
    let result = act();
    FREE.set(false);
    result
}

// SAFETY: the lock within excludes others; it is released by who holds it only.
unsafe impl RawMutex for Watched {
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: Self = Self(<spin::Mutex<()> as RawMutex>::INIT);

    type GuardMarker = lock_api::GuardNoSend;

    fn lock(&self) {
        assert!(!HELD.get(), "takes the lock twice");
        while !RawMutex::try_lock(&self.0) {
            std::thread::yield_now();
        }
        HELD.set(true);
    }

    fn try_lock(&self) -> bool {
        panic!("nobody tries")
    }

    unsafe fn unlock(&self) {
        HELD.set(false);
        // SAFETY: the contract.
        unsafe { RawMutex::unlock(&self.0) }
    }
}
