//! The machine: frames, heap, host page tables, guest memory, DMA arena, ports, time.
#![no_std]
