use super::*;

/// A simple sequence of numbers that look random; the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_of<'a>(&mut self, choices: &[&'a [u8]]) -> &'a [u8] {
        choices[self.below(choices.len())]
    }
}

const PREFIXES: [&[u8]; 12] =
    [&[0x26], &[0x2e], &[0x36], &[0x3e], &[0x64], &[0x65], &[0x66], &[0x67], &[0xf0], &[0xf2], &[0xf3], &[0x66, 0x67]];
/// What is carried out, what exits, and neighbours of both.
const OPCODES: [&[u8]; 30] = [
    &[0x88],
    &[0x89],
    &[0x8a],
    &[0x8b],
    &[0xc6],
    &[0xc7],
    &[0xa0],
    &[0xa1],
    &[0xa2],
    &[0xa3],
    &[0x0f, 0xb6],
    &[0x0f, 0xb7],
    &[0x0f, 0xbe],
    &[0x0f, 0xbf],
    &[0x63],
    &[0x0f, 0xc3],
    &[0xaa],
    &[0xab],
    &[0xac],
    &[0xad],
    &[0x86],
    &[0x87],
    &[0x80],
    &[0x81],
    &[0x83],
    &[0xf6],
    &[0xf7],
    &[0x84],
    &[0x85],
    &[0x0f, 0x01],
];

fn code(numbers: &mut Numbers, bitness: u32) -> Vec<u8> {
    let mut code = Vec::new();
    for _ in 0..numbers.below(4) {
        code.extend(numbers.one_of(&PREFIXES));
    }
    if bitness == 64 && numbers.below(2) == 0 {
        code.push(0x40 | numbers.next() as u8 & 0xf);
    }
    match numbers.below(4) {
        0 => code.push(numbers.next() as u8),
        // ADD to CMP in all their forms.
        1 => code.push((numbers.below(8) << 3 | numbers.below(6)) as u8),
        _ => code.extend(numbers.one_of(&OPCODES)),
    }
    code.extend((0..10).map(|_| numbers.next() as u8));
    code.truncate(LONGEST);
    code
}

#[test]
fn both_decoders_agree_on_instructions_at_random() {
    const ROUNDS: usize = 400_000;
    for bitness in BITNESS {
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15 ^ u64::from(bitness));
        let mut found = [0; 4];
        for _ in 0..ROUNDS {
            found[compare(&code(&mut numbers, bitness), bitness) as usize] += 1;
        }
        // Most were worth the comparison, and few are explained away.
        let [carried, measured, explained, _] = found;
        assert!(carried > ROUNDS / 4 && measured > ROUNDS / 1000 && explained < carried / 4, "{bitness}: {found:?}");
    }
}

#[test]
fn every_seed_in_64_bit_code_is_worth_a_comparison() {
    for seed in seeds().iter().filter(|seed| BITNESS[usize::from(seed[0])] == 64) {
        let compared = compare(&seed[1..], 64);
        assert!(matches!(compared, Compared::Carried | Compared::Measured), "{seed:02x?}: {compared:?}");
    }
}

#[test]
fn a_difference_in_any_part_is_seen() {
    let code: &[u8] = &[0x48, 0x89, 0x44, 0x8b, 0x10]; // mov [rbx + rcx*4 + 10h], rax
    let access = decode_code(code, 64, RIP).unwrap().access.unwrap();
    let rcx = RegisterPart { gpr: Gpr::Rcx, width: Width::Qword, high: false };
    let place = |change: fn(&mut exit::mmio::Place)| {
        let mut other = access;
        change(&mut other.place);
        other
    };
    for wrong in [
        MmioAccess { len_bytes: 4, ..access },
        MmioAccess { width: Width::Dword, ..access },
        MmioAccess { op: Op::Store(Source::Register(rcx)), ..access },
        MmioAccess {
            op: Op::Load { to: RegisterPart::accumulator(Width::Qword), extension: Extension::Zero },
            ..access
        },
        place(|place| place.displacement = 0x11),
        place(|place| place.scale = 0),
        place(|place| place.base = Some(Gpr::Rcx)),
        place(|place| place.segment = SegmentName::Fs),
    ] {
        let second = second::decode(code, 64);
        let judged = std::panic::catch_unwind(|| Case { code, bitness: 64, access: wrong, second }.judge());
        assert!(judged.is_err(), "{wrong:?}");
    }
    Case { code, bitness: 64, access, second: second::decode(code, 64) }.judge();
}
