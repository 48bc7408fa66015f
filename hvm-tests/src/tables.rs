// SPDX-License-Identifier: GPL-2.0-only
//! Descriptor tables: segments and task state for each vCPU, one interrupt table for both.

use core::ptr::addr_of_mut;

use x86_64::VirtAddr;
use x86_64::instructions::{segmentation::Segment, tables::load_tss};
use x86_64::registers::segmentation::{CS, DS, ES, SS};
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable};
use x86_64::structures::idt::{InterruptDescriptorTable, InterruptStackFrame};
use x86_64::structures::tss::TaskStateSegment;

use crate::interrupts;
use crate::vcpu::COUNT;

const DOUBLE_FAULT: usize = 8;
const EMERGENCY_STACK: usize = 4096;

#[repr(align(16))]
struct Stack(#[expect(dead_code, reason = "used by the processor only")] [u8; EMERGENCY_STACK]);

struct Tables {
    segments: GlobalDescriptorTable,
    task: TaskStateSegment,
    emergency: Stack,
}

impl Tables {
    const fn new() -> Self {
        Self {
            segments: GlobalDescriptorTable::new(),
            task: TaskStateSegment::new(),
            emergency: Stack([0; EMERGENCY_STACK]),
        }
    }
}

static mut TABLES: [Tables; COUNT] = [const { Tables::new() }; COUNT];
static mut VECTORS: InterruptDescriptorTable = InterruptDescriptorTable::new();

/// Loads the tables of vCPU `index`, which must be the caller and must not have done so before.
pub fn load(index: usize) {
    // SAFETY: every vCPU has tables of its own, and uses them once, here.
    let tables = unsafe { &mut *addr_of_mut!(TABLES[index]) };
    tables.task.interrupt_stack_table[0] =
        VirtAddr::from_ptr(&raw const tables.emergency) + EMERGENCY_STACK as u64;
    let code = tables.segments.append(Descriptor::kernel_code_segment());
    let data = tables.segments.append(Descriptor::kernel_data_segment());
    let task = tables.segments.append(Descriptor::tss_segment(&tables.task));
    tables.segments.load();
    // SAFETY: the selectors were just made, and memory is mapped one to one for all of them.
    unsafe {
        CS::set_reg(code);
        DS::set_reg(data);
        ES::set_reg(data);
        SS::set_reg(data);
        load_tss(task);
    }
    load_vectors(index);
}

fn load_vectors(index: usize) {
    // SAFETY: filled by the first vCPU before there is a second one; only read afterwards.
    let vectors = unsafe { &mut *addr_of_mut!(VECTORS) };
    if index == 0 {
        x86_64::set_general_handler!(vectors, enter);
        // SAFETY: the first emergency stack belongs to nothing else.
        unsafe { vectors.double_fault.set_handler_fn(double_fault).set_stack_index(0) };
    }
    vectors.load();
}

fn enter(frame: InterruptStackFrame, vector: u8, code: Option<u64>) {
    interrupts::arrived(&frame, vector, code);
}

extern "x86-interrupt" fn double_fault(frame: InterruptStackFrame, code: u64) -> ! {
    interrupts::exception(&frame, DOUBLE_FAULT as u8, Some(code))
}
