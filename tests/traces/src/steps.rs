//! The words that scripts are written in, whatever the controller.

use crate::{MEMORY, Place, Step, Until};
use alloc::vec::Vec;

/// Where commands have their data.
pub const DATA: u64 = MEMORY + 0x10_0000;
/// What is read.
pub const BACK: u64 = MEMORY + 0x20_0000;

/// Bytes that tell their place.
pub fn pattern(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 512) as u8 ^ (at as u8).wrapping_mul(7).wrapping_add(seed)).collect()
}

#[derive(Default)]
pub struct Steps(pub Vec<Step>);

impl Steps {
    pub fn add(&mut self, step: Step) -> &mut Self {
        self.0.push(step);
        self
    }

    pub fn about(&mut self, what: &'static str) -> &mut Self {
        self.add(Step::About(what))
    }

    pub fn write(&mut self, register: u32, value: u32) -> &mut Self {
        self.add(Step::Write { register, value })
    }

    pub fn note(&mut self, name: &'static str, register: u32) -> &mut Self {
        self.add(Step::Note { name, place: Place::Register(register) })
    }

    pub fn notes(&mut self, all: &[(&'static str, u32)]) -> &mut Self {
        all.iter().fold(self, |this, &(name, register)| this.note(name, register))
    }

    pub fn wait(&mut self, name: &'static str, register: u32, mask: u32, value: u32) -> &mut Self {
        self.add(Step::Wait { name, place: Place::Register(register), until: Until::Is { mask, value } })
    }

    pub fn fill(&mut self, at: u64, len: usize, byte: u8) -> &mut Self {
        self.add(Step::Fill { at, len, byte })
    }

    pub fn put(&mut self, at: u64, bytes: Vec<u8>) -> &mut Self {
        self.add(Step::Put { at, bytes })
    }

    pub fn show(&mut self, name: &'static str, at: u64, len: usize) -> &mut Self {
        self.add(Step::Show { name, at, len })
    }

    /// What was read, in [`BACK`].
    pub fn sum(&mut self, name: &'static str, len: usize) -> &mut Self {
        self.add(Step::Sum { name, at: BACK, len })
    }

    pub fn pause(&mut self) -> &mut Self {
        self.add(Step::Pause)
    }
}
