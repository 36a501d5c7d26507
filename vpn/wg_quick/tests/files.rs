//! Files, each with what must be said of it: every `# expect` line is a finding, in this order, and there are no others. Of a
//! bad one at least one is an error.

use std::fs;
use std::path::{Path, PathBuf};
use wg_quick::{Severity, read};

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Judges a file, with the line ends and the mark that Windows gives it too; is it accepted?
fn check(path: &Path) -> bool {
    let text = fs::read_to_string(path).unwrap();
    let windows = format!("\u{FEFF}{}", text.replace('\n', "\r\n"));
    let expected: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# expect ")).collect();
    let accepted = [text.as_str(), &windows].map(|text| {
        let (config, findings) = read(text.as_bytes());
        let found: Vec<_> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{}", path.display());
        let wrong = findings.iter().any(|finding| finding.severity == Severity::Error);
        assert_eq!(config.is_none(), wrong, "{}", path.display());
        config.is_some()
    });
    assert_eq!(accepted[0], accepted[1]);
    accepted[0]
}

#[test]
fn each_bad_file_gets_its_findings_and_no_others() {
    let files = files("bad");
    assert!(files.len() >= 30, "{} files", files.len());
    files.iter().for_each(|path| assert!(!check(path), "{} is accepted", path.display()));
}

#[test]
fn good_files_are_accepted_with_a_warning_for_each_line_without_effect() {
    let files = files("good");
    assert!(files.len() >= 5, "{} files", files.len());
    files.iter().for_each(|path| assert!(check(path), "{} is refused", path.display()));
}

#[test]
fn no_finding_quotes_what_could_be_a_secret() {
    for path in [files("bad"), files("good")].concat() {
        let text = fs::read_to_string(&path).unwrap();
        let (_, findings) = read(text.as_bytes());
        let values = text.lines().filter(|line| !line.starts_with('#')).flat_map(|line| line.split(['=', ' ', ',']));
        for value in values
            .filter(|value| value.len() >= 12 && !value.contains("example.org") && *value != "PersistentKeepalive")
        {
            let quoted = findings.iter().find(|finding| finding.to_string().contains(value));
            assert!(quoted.is_none(), "{}: {}", path.display(), quoted.unwrap());
        }
    }
}
