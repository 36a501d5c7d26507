//! `shoji disk status`: what a disk or partition holds.

use std::fmt::Write as _;

use luks2::ReadError;
use serde_json::{Value, json};
use shoji::disk::{Device, Mode, content, luks, recognise};

use super::disk::At;
use super::{Failure, print};

pub fn status(at: &At, json: bool) -> Result<(), Failure> {
    let device = at.open(Mode::Read)?;
    let header = luks::read(&device);
    let mut tree =
        json!({ "device": device.name(), "bytes": device.len_bytes(), "sector-bytes": device.sector_bytes() });
    match &header {
        Ok(header) => tree["luks2"] = luks::to_json(header),
        Err(ReadError::NotLuks) => {
            tree["holds"] = content(&device).into();
            tree["partitions"] = partitions(at, &device);
        }
        Err(_) => {}
    }
    let unusable = match header {
        Ok(header) if header.copies().primary.is_err() || header.copies().secondary.is_err() => Some(
            "one copy of the header is damaged; make it anew by `cryptsetup repair`, or by `header-backup` and then \
             `header-restore`"
                .to_owned(),
        ),
        Err(ReadError::NotLuks) | Ok(_) => None,
        Err(error) => Some(error.to_string()),
    };
    tree["error"] = unusable.clone().into();
    print(if json { tree.to_string() } else { to_text(&tree).trim_end().to_owned() })?;
    unusable.map_or(Ok(()), |_| Err(Failure::Findings))
}

/// Of a whole disk: what each partition holds.
fn partitions(at: &At, device: &Device) -> Value {
    let table = if at.partition.is_none() { device.partitions().ok() } else { None };
    let of = |number: u32| Device::open(&at.device, Some(number), Mode::Read).ok();
    let list = table.iter().flat_map(|table| &table.partitions).map(|found| {
        let held = of(found.number).and_then(|device| recognise(&device));
        json!({ "number": found.number, "first-lba": found.first_lba, "sectors": found.sectors, "holds": held })
    });
    list.collect()
}

fn to_text(tree: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut out = format!("{}: {} bytes\n", text(&tree["device"]), tree["bytes"]);
    for part in tree["partitions"].as_array().into_iter().flatten() {
        let held = part["holds"].as_str().unwrap_or("nothing that Shoji knows");
        let _ = writeln!(
            out,
            "  partition {}: from LBA {}, {} sectors: {held}",
            part["number"], part["first-lba"], part["sectors"]
        );
    }
    if let Some(error) = tree["error"].as_str() {
        let _ = writeln!(out, "  {error}");
    }
    let luks = &tree["luks2"];
    if luks.is_null() {
        if tree["error"].is_null() && tree["partitions"].as_array().is_none_or(Vec::is_empty) {
            let _ = writeln!(out, "  holds {}", tree["holds"].as_str().unwrap_or("nothing that Shoji knows"));
        }
        return out;
    }
    let _ = writeln!(out, "  LUKS2, UUID {}, label {}", text(&luks["uuid"]), luks["label"]);
    for copy in ["primary", "secondary"] {
        let state = match luks[copy]["flaw"].as_str() {
            None => format!("good, sequence {}", luks[copy]["sequence"]),
            Some(flaw) => format!("DAMAGED: {flaw}"),
        };
        let _ = writeln!(out, "  {copy} header: {state}");
    }
    let payload = &luks["payload"];
    let _ = match payload["unsupported"].as_str() {
        Some(why) => writeln!(out, "  Shoji does not open it: {why}"),
        None => writeln!(
            out,
            "  payload: from byte {}, {}, {}-bit key, crypto sectors of {} bytes",
            payload["offset-bytes"],
            text(&payload["cipher"]),
            payload["key-bits"],
            payload["sector-bytes"]
        ),
    };
    for slot in luks["slots"].as_array().into_iter().flatten() {
        let what = slot["takes"].as_str().or(slot["why"].as_str()).unwrap_or_default();
        let _ = writeln!(out, "  key slot {}: {what}", slot["number"]);
    }
    out
}
