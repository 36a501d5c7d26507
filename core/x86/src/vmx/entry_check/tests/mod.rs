//! The checker over valid, broken and random VMCSs.

mod rules;

use super::mutations::{Random, mutate};
use super::samples::{Mode, Sample, valid};
use super::*;
use crate::vmx::{Basic, ControlCapability, EptVpidCapability, FixedBits, Misc};
use std::collections::BTreeSet;
use std::{format, string::ToString};
extern crate std;

/// As Haswell has it.
fn haswell() -> Cpu {
    let capabilities = Capabilities {
        basic: Basic(0x00DA_0400_0000_0012),
        pin: ControlCapability { allowed_0: 0x16, allowed_1: 0xFF },
        processor: ControlCapability { allowed_0: 0x0400_6172, allowed_1: 0xFFF9_FFFE },
        secondary: ControlCapability { allowed_0: 0, allowed_1: 0x0007_FFFF },
        exit: ControlCapability { allowed_0: 0x0003_6DFB, allowed_1: 0x007F_FFFF },
        entry: ControlCapability { allowed_0: 0x11FB, allowed_1: 0xFFFF },
        misc: Misc::from_bits_retain(0x2004_01E5),
        cr0: FixedBits { ones: 0x8000_0021, allowed: 0xFFFF_FFFF },
        cr4: FixedBits { ones: 0x2000, allowed: 0x0017_67FF },
        ept_vpid: EptVpidCapability::from_bits_retain(0x0F01_0673_4141),
        vm_functions: 1,
        ..Capabilities::default()
    };
    Cpu {
        capabilities,
        physical_bits: 39,
        linear_bits: 48,
        long_mode: true,
        bus_lock_detection: false,
        rtm: false,
        sgx: false,
    }
}

/// All controls that have a name, and more.
fn newest() -> Cpu {
    let mut cpu = haswell();
    cpu.capabilities.basic.0 |= 1 << 56;
    cpu.capabilities.secondary.allowed_1 = u32::MAX;
    cpu.capabilities.tertiary = 0xFF;
    cpu.capabilities.exit.allowed_1 = u32::MAX;
    cpu.capabilities.entry.allowed_1 = 0x00FF_FFFF;
    cpu.capabilities.cr4.allowed = 0x01FF_FFFF;
    cpu.capabilities.misc |= Misc::ZERO_INSTRUCTION_LENGTH;
    Cpu { physical_bits: 46, linear_bits: 57, bus_lock_detection: true, rtm: true, sgx: true, ..cpu }
}

fn report(cpu: &Cpu, sample: &Sample) -> Vec<Broken> {
    check(cpu, &|field| sample.get(field))
}

#[test]
fn valid_states_of_all_modes_break_nothing() {
    for cpu in [haswell(), newest()] {
        for mode in Mode::ALL {
            for unrestricted in [false, true] {
                let sample = valid(&cpu, mode, unrestricted, 0x5000).unwrap();
                assert_eq!(report(&cpu, &sample), [], "{mode:?}, unrestricted: {unrestricted}");
            }
        }
    }
}

#[test]
fn a_cpu_without_unrestricted_guest_has_no_sample_of_real_mode() {
    let mut cpu = haswell();
    cpu.capabilities.secondary.allowed_1 &= !(1 << 7);
    assert!(valid(&cpu, Mode::Real, false, 0x5000).is_none());
    assert!(valid(&cpu, Mode::Long, false, 0x5000).is_some());
}

#[test]
fn a_broken_rule_is_a_sentence_with_field_value_rule_and_section() {
    let cpu = haswell();
    let mut sample = valid(&cpu, Mode::Long, false, 0x5000).unwrap();
    sample.set(Field::GUEST_RFLAGS, 0x200);
    let broken = report(&cpu, &sample);
    let lines: Vec<_> = broken.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["GUEST_RFLAGS is 0x200, wrong bits 0x2: bit 1 must be 1 (SDM Vol. 3C 27.3.1.4)"]);
    assert_eq!(broken[0].stage, Stage::GuestState);
}

#[test]
fn random_changes_never_panic_and_meet_every_stage() {
    let mut entered = 0;
    let mut stages = [0; 3];
    let mut rules = BTreeSet::new();
    for (seed, cpu) in [(1, haswell()), (2, newest())] {
        let mut random = Random::new(seed);
        for round in 0..40_000 {
            let mode = Mode::ALL[round % Mode::ALL.len()];
            let mut sample = valid(&cpu, mode, random.below(2) == 0, 0x5000).unwrap();
            mutate(&mut sample, &cpu, &mut random);
            let broken = report(&cpu, &sample);
            entered += u32::from(broken.is_empty());
            for rule in broken {
                assert!(format!("{rule}").contains("SDM Vol. 3C 27."));
                stages[rule.stage as usize] += 1;
                rules.insert((rule.section, rule.field, rule.rule));
            }
        }
    }
    assert!(entered > 10_000, "{entered} of 80000 are still valid");
    assert!(stages.iter().all(|count| *count > 3_000), "{stages:?}");
    assert!(rules.len() > 200, "{} rules were met", rules.len());
}

#[test]
fn any_bits_in_any_field_never_panic() {
    let mut random = Random::new(3);
    for _ in 0..3_000 {
        let mut sample = Sample::default();
        for field in Field::all() {
            sample.set(field, random.next() & random.next());
        }
        let mut cpu = newest();
        cpu.physical_bits = random.next() as u8;
        cpu.linear_bits = random.next() as u8;
        assert!(!report(&cpu, &sample).is_empty());
    }
}

#[test]
fn fields_of_features_that_are_off_are_not_read() {
    let cpu = haswell();
    let sample = valid(&cpu, Mode::Long, false, 0x5000).unwrap();
    let off = [
        Field::TERTIARY_PROCESSOR_CONTROLS,
        Field::SECONDARY_VM_EXIT_CONTROLS,
        Field::TSC_MULTIPLIER,
        Field::VM_FUNCTION_CONTROLS,
        Field::GUEST_S_CET,
        Field::GUEST_SSP,
        Field::HOST_S_CET,
        Field::GUEST_PKRS,
        Field::GUEST_BNDCFGS,
        Field::SPP_TABLE_POINTER,
    ];
    check(&cpu, &|field| {
        assert!(!off.contains(&field), "{field}");
        sample.get(field)
    });
}
