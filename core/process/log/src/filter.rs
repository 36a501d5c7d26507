//! Lines of a text.

use alloc::vec::Vec;

/// The lines that hold `pattern`, case aside. An empty one is in all.
pub fn lines(text: &[u8], pattern: &[u8]) -> Vec<u8> {
    let holds =
        |line: &&[u8]| pattern.is_empty() || line.windows(pattern.len()).any(|part| part.eq_ignore_ascii_case(pattern));
    text.split_inclusive(|&byte| byte == b'\n').filter(holds).flatten().copied().collect()
}

/// The last whole lines that fit into `room` bytes.
pub fn last(text: &[u8], room: usize) -> &[u8] {
    let Some(skipped) = text.len().checked_sub(room).filter(|skipped| *skipped > 0) else { return text };
    // A line begins behind the end of another.
    let rest = text.get(skipped.saturating_sub(1)..).unwrap_or_default();
    let end = rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |end| end.saturating_add(1));
    rest.get(end..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"INFO one\nWARN two\nINFO three\n";

    #[test]
    fn lines_with_a_text_are_kept_whatever_its_case() {
        assert_eq!(lines(TEXT, b"info"), b"INFO one\nINFO three\n");
        assert_eq!(lines(TEXT, b""), TEXT);
        assert_eq!(lines(TEXT, b"four"), b"");
        assert_eq!(lines(b"", b"x"), b"");
        assert_eq!(lines(b"x", b"a longer pattern"), b"");
    }

    #[test]
    fn what_does_not_fit_is_cut_at_the_begin_by_whole_lines() {
        assert_eq!(last(TEXT, 100), TEXT);
        assert_eq!(last(TEXT, TEXT.len()), TEXT);
        assert_eq!(last(TEXT, TEXT.len() - 1), b"WARN two\nINFO three\n");
        assert_eq!(last(TEXT, 11), b"INFO three\n");
        assert_eq!(last(TEXT, 10), b"");
        assert_eq!(last(TEXT, 0), b"");
        assert_eq!(last(b"no end", 3), b"");
    }
}
