// SPDX-License-Identifier: GPL-2.0-only
//! The debug console on port 0xE9, which Xen and QEMU both have.

use core::fmt;

use x86_64::instructions::{interrupts::without_interrupts, port::PortWriteOnly};

const DEBUG_CONSOLE: u16 = 0xe9;

struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut port = PortWriteOnly::new(DEBUG_CONSOLE);
        for byte in text.bytes() {
            // SAFETY: the debug console only prints.
            unsafe { port.write(byte) };
        }
        Ok(())
    }
}

/// Prints one line.
pub fn line(text: fmt::Arguments) {
    without_interrupts(|| {
        // The console cannot fail; a failing Display says so in its own text.
        let _ = fmt::write(&mut Console, format_args!("{text}\n"));
    });
}

/// Prints one line, formatted as by `format_args!`.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => { $crate::console::line(format_args!($($text)*)) };
}
