//! Bad files, each with what must be said of it: every `# expect` line is a finding, from `line:column` on, and there are
//! no others.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::Folder;

#[test]
fn each_bad_file_gets_its_messages_and_no_others() {
    let folder = Folder::new("bad-files");
    for (name, bytes) in [("root.key", (0..64).collect::<Vec<u8>>()), ("short.key", vec![7; 31])] {
        fs::set_permissions(folder.write(name, bytes), PermissionsExt::from_mode(0o600)).unwrap();
    }
    let mut count = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let expected: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# expect ")).collect();
        let file = folder.write("bad.toml", &text);
        fs::set_permissions(file, PermissionsExt::from_mode(0o600)).unwrap();
        let outcome = folder.shoji("config check bad.toml");
        let found: Vec<_> = outcome.stderr.lines().map(|line| line.trim_start_matches("bad.toml:")).collect();
        assert_eq!((outcome.status, outcome.stdout.as_str(), found), (1, "", expected), "{}", path.display());
        assert_eq!(folder.shoji("config build bad.toml").status, 1, "{}", path.display());
        count += 1;
    }
    assert!(count >= 30, "{count} files");
}
