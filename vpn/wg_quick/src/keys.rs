//! Which keys there are, and what a misspelt one was meant to be.

/// The keys of a section, as the manual pages write them.
pub const INTERFACE: [&str; 13] = [
    "PrivateKey",
    "ListenPort",
    "Address",
    "DNS",
    "MTU",
    "FwMark",
    "Table",
    "NetNS",
    "PreUp",
    "PostUp",
    "PreDown",
    "PostDown",
    "SaveConfig",
];
pub const PEER: [&str; 5] = ["PublicKey", "PresharedKey", "Endpoint", "AllowedIPs", "PersistentKeepalive"];

/// The key as the manual pages write it.
pub fn known(key: &str, of: &[&'static str]) -> Option<&'static str> {
    of.iter().copied().find(|known| known.eq_ignore_ascii_case(key))
}

/// The key that differs in at most two letters.
pub fn similar(key: &str, of: &[&'static str]) -> Option<&'static str> {
    // A longer one can be none, and would take long to compare.
    let near = |known: &&'static str| (key.len() <= 32).then(|| distance(key, known)).filter(|differs| *differs <= 2);
    of.iter().filter_map(|known| near(known).map(|differs| (differs, *known))).min().map(|(_, known)| known)
}

/// Letters to put in, take out or change, whatever their case.
fn distance(a: &str, b: &str) -> usize {
    let mut row: [usize; 40] = core::array::from_fn(|column| column);
    let mut last = b.len();
    for (number, x) in (1usize..).zip(a.bytes()) {
        let above = row;
        last = fill(&above, &mut row, number, x, b);
    }
    last
}

/// The next row of the table of distances; gives its last cell.
fn fill(above: &[usize; 40], row: &mut [usize; 40], number: usize, x: u8, b: &str) -> usize {
    let mut left = number;
    if let Some(first) = row.first_mut() {
        *first = number;
    }
    for ((pair, cell), y) in above.windows(2).zip(row.iter_mut().skip(1)).zip(b.bytes()) {
        let (Some(diagonal), Some(up)) = (pair.first(), pair.get(1)) else { break };
        let changed = diagonal.saturating_add(usize::from(!x.eq_ignore_ascii_case(&y)));
        left = changed.min(up.saturating_add(1)).min(left.saturating_add(1));
        *cell = left;
    }
    left
}
