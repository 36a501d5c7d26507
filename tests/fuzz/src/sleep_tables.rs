//! What firmware and guest leave about sleep: any bytes as AML, and as FACS.

use sleep::{FACS_BYTES, Facs, Types};

/// Runs one input. A table that is read twice says the same; a waking vector of ours is the one that is found again.
pub fn run(data: &[u8]) {
    let mut types = Types::default();
    types.scan(data);
    let once = types;
    types.scan(data);
    assert_eq!(types, once);
    for value in 0..=u8::MAX {
        assert!(value < 8 || types.state(value, Some(value)).is_none());
    }
    let Some(facs) = data.first_chunk::<FACS_BYTES>().and_then(|bytes| Facs::parse(*bytes)) else { return };
    if let Ok(vector) = facs.waking_vector() {
        let at = u32::from(vector.segment) << 4 | u32::from(vector.ip);
        assert!(vector.ip < 16 && facs.with_waking_vector(at).waking_vector() == Ok(vector));
    }
}

/// The packages of a PC's DSDT, and a FACS of version 2 with a vector.
pub fn seeds() -> Vec<Vec<u8>> {
    let packages =
        b"\x08_S3_\x12\x06\x04\x01\x01\0\0\x08_S4_\x12\x08\x04\x0a\x02\x0a\x02\0\0\x08\\_S5_\x12\x05\x02\x0b\0\0\0";
    let facs = b"FACS\x40\0\0\0\0\0\0\0\xc5\x90\x09\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0";
    vec![packages.to_vec(), facs.to_vec()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use sleep::State;

    #[test]
    fn seeds_are_understood() {
        let [packages, facs] = seeds().try_into().unwrap();
        let mut types = Types::default();
        types.scan(&packages);
        assert_eq!(types.state(1, None), Some(State::Suspended));
        assert_eq!(types.state(0, None), Some(State::Off));
        assert!(Facs::parse(*facs.first_chunk().unwrap()).unwrap().waking_vector().is_ok());
    }
}
