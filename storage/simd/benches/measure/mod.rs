//! What the benches share: rates of CPU time, and OpenSSL's own.

use std::fs;
use std::hint::black_box;
use std::process::Command;

/// CPU time that one measurement takes at least.
const MEASURE_NS: u64 = 100_000_000;

/// Calls with a request of the same bytes until enough CPU time has gone. Gigabytes per second.
pub fn rate(request: usize, mut transform: impl FnMut(u64, &mut [u8])) -> f64 {
    let mut data = vec![0x5a; request];
    let per_look = (1 << 22) / request as u64;
    let (start, mut calls) = (cpu_time_ns(), 0);
    loop {
        for _ in 0..per_look {
            transform(black_box(calls), black_box(&mut data));
            calls += 1;
        }
        let spent = cpu_time_ns() - start;
        if spent >= MEASURE_NS {
            return (calls * request as u64) as f64 / spent as f64;
        }
    }
}

/// Of this thread. Source: Linux, Documentation/scheduler/sched-stats.rst.
fn cpu_time_ns() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux with schedstat");
    text.split_whitespace().next().and_then(|ns| ns.parse().ok()).expect("nanoseconds come first")
}

/// Gigabytes per second by `openssl speed`. `None`: the command is not installed.
pub fn openssl(algorithm: &str, request: usize, more: &[&str]) -> Option<f64> {
    let mut command = Command::new("openssl");
    command.args(["speed", "-mr", "-seconds", "1", "-bytes", &request.to_string(), "-evp", algorithm]).args(more);
    let output = command.output().ok()?;
    // The last line: +F:22:AES-256-XTS:bytes per second.
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().find(|line| line.starts_with("+F:"))?;
    line.rsplit(':').next()?.trim().parse::<f64>().ok().map(|rate| rate / 1e9)
}

pub fn openssl_version() -> String {
    let output = Command::new("openssl").arg("version").output();
    let text = output.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    text.map_or("no OpenSSL installed".into(), |text| text.split('(').next().unwrap_or_default().trim().into())
}

pub fn cpu() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or("unknown CPU", |(_, name)| name.trim()).into()
}
