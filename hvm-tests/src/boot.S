/* SPDX-License-Identifier: GPL-2.0-only */
/* From flat 32-bit mode (first vCPU) or real mode (second vCPU) to Rust in long mode. */

        .section .note.pvh, "a", @note
        .balign 4
        .long 4, 4, 18                  /* name size, value size, XEN_ELFNOTE_PHYS32_ENTRY */
        .asciz "Xen"
        .long _start

        .set CODE64, 0x08
        .set DATA, 0x10
        .set CODE32, 0x18

        .section .text.boot, "ax", @progbits
        .code32
        .globl _start
_start:
        cli
        movl $boot_stack_top, %ebx
        movl $first_vcpu, %ebp

/* %ebx is the stack to use and %ebp the function to call. */
enter_long_mode:
        movl $0x620, %eax               /* PAE; SSE with its exceptions: OSFXSR, OSXMMEXCPT */
        movl %eax, %cr4
        movl $pml4, %eax
        movl %eax, %cr3
        movl $0xc0000080, %ecx          /* EFER.LME */
        rdmsr
        orl $(1 << 8), %eax
        wrmsr
        movl %cr0, %eax
        andl $0x9ffffff3, %eax          /* CD, NW: after INIT the caches are off; TS, EM: SSE is not */
        orl $0x80010001, %eax           /* PG, WP, PE */
        movl %eax, %cr0
        lgdt boot_gdt_pointer
        ljmp $CODE64, $1f
        .code64
1:      movl $DATA, %eax
        movl %eax, %ds
        movl %eax, %es
        movl %eax, %ss
        xorl %eax, %eax
        movl %eax, %fs
        movl %eax, %gs
        movl %ebx, %esp
        movl %ebp, %eax
        xorl %ebp, %ebp
        pushq $0
        popfq
        call *%rax
        ud2

        .code32
second_vcpu_protected:
        movl $DATA, %eax
        movl %eax, %ds
        movl %eax, %es
        movl %eax, %ss
        movl $second_stack_top, %ebx
        movl $second_vcpu, %ebp
        jmp enter_long_mode

/* Copied below 1 MiB, to SECOND_VCPU_START, where the start-up IPI sends the second vCPU. */
        .code16
        .globl trampoline, trampoline_end
trampoline:
        cli
        movw %cs, %ax
        movw %ax, %ds
        lgdtl trampoline_gdt_pointer - trampoline
        movl %cr0, %eax
        orl $1, %eax
        movl %eax, %cr0
        ljmpl $CODE32, $second_vcpu_protected
trampoline_gdt_pointer:
        .word boot_gdt_end - boot_gdt - 1
        .long boot_gdt
trampoline_end:
        .code64

        .section .data.boot, "aw", @progbits
        .balign 8
boot_gdt:
        .quad 0
        .quad 0x00af9b000000ffff        /* CODE64 */
        .quad 0x00cf93000000ffff        /* DATA */
        .quad 0x00cf9b000000ffff        /* CODE32 */
boot_gdt_end:
boot_gdt_pointer:
        .word boot_gdt_end - boot_gdt - 1
        .long boot_gdt

/* The first 5 GiB, one to one, in 2 MiB pages; uncached from 3 GiB on, where devices are. */
        .balign 4096
pml4:   .quad pdpt + 0x3
        .fill 511, 8, 0
pdpt:   .quad pd + 0x3, pd + 0x1003, pd + 0x2003, pd + 0x3003, pd + 0x4003
        .fill 507, 8, 0
pd:
        .set page, 0
        .rept 1536
        .quad page + 0x83
        .set page, page + 0x200000
        .endr
        .rept 1024
        .quad page + 0x9b
        .set page, page + 0x200000
        .endr

        .section .bss.stacks, "aw", @nobits
        .balign 16
        .fill 0x10000, 1, 0
boot_stack_top:
        .fill 0x10000, 1, 0
second_stack_top:
