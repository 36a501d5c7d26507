//! The CPU vendors' crates: nothing of theirs elsewhere, and one shape for both.

use super::sources::{read, rust_files};
use super::{Crate, Finding, VMM_ROOMS};
use anyhow::Result;
use std::collections::BTreeSet;
use std::path::Path;

/// Crates that are about a vendor's extension; `core/x86` holds the definitions of both, `core/policy` what a guest gets of each.
const OF_A_VENDOR: [&str; 4] = ["core/policy", "core/svm", "core/vmx", "core/x86"];
/// Asks which vendor's CPU this is.
const CHOICE: &str = "core/vmm/src/vendor.rs";
/// Words of the manuals' chapters on SVM and VMX, as they stand in names: `SvmVcpu` and `SVM_KEY` both hold `svm`.
const WORDS: &str = "svm vmcb vmrun vmexit vmload vmsave vmmcall stgi clgi skinit invlpga svme npt ncr asid iopm msrpm \
                     nrip avic vmx vmcs vmlaunch vmresume vmread vmwrite vmptrld vmptrst vmclear vmxon vmxoff vmcall \
                     vmfunc getsec invept invvpid ept eptp vpid vmxe smxe";
/// Files that one of the twins has alone: crate, file.
const ALONE: [(&str, &str); 2] = [
    // On AMD-V some of the guest's registers are in the CPU while the VMM runs; VT-x switches all that ring 3 meets.
    ("svm", "ring3.rs"),
    // A VT-x guest's task switches are left to the VMM; AMD-V's hardware does them.
    ("vmx", "task.rs"),
];

/// No code of the VMM but the vendors' own names their extensions. (Tools and tests judge what emulators tell.)
pub(super) fn check_words(root: &Path, of: &Crate) -> Result<Vec<Finding>> {
    if !VMM_ROOMS.contains(&of.room()) || OF_A_VENDOR.iter().any(|folder| of.folder == Path::new(folder)) {
        return Ok(Vec::new());
    }
    let mut findings = Vec::new();
    for file in rust_files(&root.join(&of.folder))? {
        let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        if name != CHOICE {
            findings.extend(vendor_words(&read(root, &name)?).into_iter().map(|(line, word)| {
                let remedy = "say it in neutral words, or move it to core/svm and core/vmx";
                Finding::new(format!("{name}:{line}"), format!("the name {word} is a CPU vendor's"), remedy)
            }));
        }
    }
    Ok(findings)
}

/// Lines and names in code that hold one of [`WORDS`].
pub(super) fn vendor_words(text: &str) -> Vec<(usize, String)> {
    let words: BTreeSet<&str> = WORDS.split_whitespace().collect();
    let mut found = Vec::new();
    for (n, line) in code_of(text).lines().enumerate() {
        let names = line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|name| !name.is_empty());
        let vendors = names.filter(|name| words_of(name).iter().any(|word| words.contains(word.as_str())));
        found.extend(vendors.map(|name| (n + 1, name.to_owned())));
    }
    found
}

/// The words of a name in lower case, without digits: `n_cr3` and `NestedCr3`, `VMCSField` and `VmcsField` alike.
fn words_of(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (n, &letter) in letters.iter().enumerate() {
        let after_small = n > 0 && letters[n - 1].is_lowercase();
        let before_small = letters.get(n + 1).is_some_and(|next| next.is_lowercase());
        if letter == '_' || letter.is_uppercase() && (after_small || before_small) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| letter.is_alphabetic()) {
            word.extend(letter.to_lowercase());
        }
    }
    words
}

/// A source without the contents of comments, strings and characters; its lines stay where they are.
fn code_of(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let len = skipped_len(rest, code.chars().last());
        if len == 0 {
            code.push(next);
            rest = &rest[next.len_utf8()..];
        } else {
            // What was left out parts the names around it.
            code.push(' ');
            code.extend(rest[..len].chars().filter(|&c| c == '\n'));
            rest = &rest[len..];
        }
    }
    code
}

/// Length of the comment, string or character at the start of `rest`, or 0. `before`: the last character of the code.
fn skipped_len(rest: &str, before: Option<char>) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return rest.find("*/").map_or(rest.len(), |at| at + 2);
    }
    let in_name = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let hashes = rest.strip_prefix('r').map(|raw| raw.len() - raw.trim_start_matches('#').len());
    if let Some(hashes) = hashes.filter(|&n| !in_name && rest[1 + n..].starts_with('"')) {
        let end = format!("\"{}", "#".repeat(hashes));
        let start = 2 + hashes;
        return rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len());
    }
    match rest.as_bytes() {
        [b'"', ..] => quoted_len(rest, '"'),
        // A character, not a lifetime.
        [b'\'', b'\\', ..] => quoted_len(rest, '\''),
        [b'\'', ..] if rest.chars().nth(2) == Some('\'') => quoted_len(rest, '\''),
        _ => 0,
    }
}

fn quoted_len(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    let end = rest.char_indices().skip(1).find(|&(_, c)| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    end.map_or(rest.len(), |(at, _)| at + 1)
}

/// Both vendors' crates have the same files, so that who knows one finds his way in the other.
pub(super) fn check_twins(root: &Path, crates: &[Crate]) -> Result<Vec<Finding>> {
    let twins = ["svm", "vmx"].map(|name| crates.iter().find(|of| of.name == name));
    let [Some(svm), Some(vmx)] = twins else { return Ok(Vec::new()) };
    let files = |of: &Crate| -> Result<BTreeSet<String>> {
        let folder = root.join(&of.folder).join("src");
        let relative = |file: &Path| file.strip_prefix(&folder).unwrap_or(file).display().to_string();
        Ok(rust_files(&folder)?.iter().map(|file| relative(file)).collect())
    };
    let (in_svm, in_vmx) = (files(svm)?, files(vmx)?);
    let missing = |from: &Crate, has: &BTreeSet<String>, of: &Crate, lacks: &BTreeSet<String>| {
        let alone = |file: &&String| ALONE.contains(&(from.name.as_str(), file.as_str()));
        let lacking = has.difference(lacks).filter(|file| !alone(file));
        let finding = |file| {
            let what = format!("{} has no such file", of.name);
            let remedy = "give both the same files, or tell the reason beside the others in xtask's rooms/vendors.rs";
            Finding::new(from.file(&format!("src/{file}")), what, remedy)
        };
        lacking.map(finding).collect::<Vec<_>>()
    };
    let mut findings = missing(svm, &in_svm, vmx, &in_vmx);
    findings.extend(missing(vmx, &in_vmx, svm, &in_svm));
    Ok(findings)
}
