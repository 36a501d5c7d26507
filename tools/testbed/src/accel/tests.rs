use super::*;

fn host(device: Result<(), &str>, flags: &str, intel: Option<&str>, amd: Option<&str>) -> Host {
    Host {
        device: device.map_err(str::to_owned),
        cpuinfo: format!("processor\t: 0\nvmx flags\t: vnmi\nflags\t\t: fpu {flags} sse2\nbugs\t\t: svm\n"),
        nested: [intel, amd].map(|text| text.map(str::to_owned)),
    }
}

fn accelerator(wish: Wish, host: &Host) -> Option<Accelerator> {
    choose(wish, host).ok().map(|choice| choice.accelerator)
}

#[test]
fn kvm_is_taken_exactly_where_device_cpu_and_nesting_are_all_there() {
    let nested = [None, Some("N\n"), Some("0\n"), Some(""), Some("Y\n"), Some("1\n")];
    let on = |text: Option<&str>| matches!(text, Some("Y\n" | "1\n"));
    for device in [Ok(()), Err("there is no /dev/kvm")] {
        for flags in ["", "vmx", "svm", "svm_lock vmxnet"] {
            for (intel, amd) in nested.into_iter().flat_map(|intel| nested.map(|amd| (intel, amd))) {
                let host = host(device, flags, intel, amd);
                let expected = match flags {
                    "vmx" if device.is_ok() && on(intel) => Some(Accelerator::Kvm(Vendor::Intel)),
                    "svm" if device.is_ok() && on(amd) => Some(Accelerator::Kvm(Vendor::Amd)),
                    _ => None,
                };
                assert_eq!(accelerator(Wish::Kvm, &host), expected, "{host:?}");
                assert_eq!(accelerator(Wish::Auto, &host), expected.or(Some(Accelerator::Tcg)), "{host:?}");
                assert_eq!(accelerator(Wish::Tcg, &host), Some(Accelerator::Tcg), "{host:?}");
            }
        }
    }
}

#[test]
fn each_missing_part_is_named_and_auto_says_the_same_as_kvm() {
    for (host, word) in [
        (host(Err("there is no /dev/kvm"), "vmx", Some("Y"), None), "/dev/kvm"),
        (host(Err("/dev/kvm cannot be opened (denied)"), "vmx", Some("Y"), None), "denied"),
        (host(Ok(()), "", Some("Y"), Some("Y")), "neither VMX nor SVM"),
        (host(Ok(()), "vmx", Some("N"), Some("Y")), "switched off (/sys/module/kvm_intel"),
        (host(Ok(()), "svm", Some("Y"), Some("0")), "switched off (/sys/module/kvm_amd"),
        (host(Ok(()), "svm", Some("Y"), None), "no /sys/module/kvm_amd"),
    ] {
        let refusal = choose(Wish::Kvm, &host).unwrap_err();
        assert!(refusal.starts_with("--accel kvm cannot be had: ") && refusal.contains(word), "{refusal}");
        let said = choose(Wish::Auto, &host).unwrap().to_string();
        assert!(
            said.starts_with("QEMU runs with TCG, CPU model EPYC with svm (no KVM: ") && said.contains(word),
            "{said}"
        );
    }
}

#[test]
fn who_asked_for_tcg_is_told_no_reason() {
    let said = choose(Wish::Tcg, &host(Ok(()), "vmx", Some("Y"), None)).unwrap().to_string();
    assert_eq!(said, "QEMU runs with TCG, CPU model EPYC with svm");
}

#[test]
fn qemu_gets_the_cpu_model_that_has_the_virtualization() {
    for (accelerator, with, without) in [
        (Accelerator::Tcg, "-accel tcg -cpu EPYC,+svm", "-accel tcg -cpu EPYC,-svm"),
        (Accelerator::Kvm(Vendor::Intel), "-accel kvm -cpu host,+vmx", "-accel kvm -cpu host,-vmx"),
        (Accelerator::Kvm(Vendor::Amd), "-accel kvm -cpu host,+svm", "-accel kvm -cpu host,-svm"),
    ] {
        assert_eq!(accelerator.arguments(true).join(" "), with);
        assert_eq!(accelerator.arguments(false).join(" "), without);
    }
}

#[test]
fn a_wish_reads_as_it_is_written() {
    for wish in [Wish::Auto, Wish::Kvm, Wish::Tcg] {
        assert_eq!(wish.to_string().parse(), Ok(wish));
    }
    assert!("hvf".parse::<Wish>().is_err());
}
