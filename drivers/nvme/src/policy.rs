//! What may be asked of a controller: command by command, feature by feature, log by log (`deny-unknown`).
//!
//! `protected` is a controller with a protected namespace, or the protected namespace itself. What is refused is also hidden in
//! what IDENTIFY tells, so that no driver tries ([`crate::identify`]).

use crate::spec::{admin, feature, nvm};

/// What becomes of an admin command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admin {
    CreateSq,
    CreateCq,
    DeleteSq,
    DeleteCq,
    Identify,
    Abort,
    GetLog,
    SetFeatures,
    GetFeatures,
    AsyncEvent,
    /// As it is, without data.
    Pass,
    /// As it is, with so many bytes of data, in a buffer that the guest gives.
    Data {
        dword: u8,
        unit: Unit,
    },
    Refused,
}

/// What a length in a command counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    Bytes,
    /// Dwords, and 0 means one.
    DwordsLessOne,
}

/// NVMe figure 139. Refused everywhere, because they change what Shoji knows of the controller and its namespaces, or give the
/// device addresses in ways of their own: NAMESPACE MANAGEMENT (0Dh), NAMESPACE ATTACHMENT (15h), DIRECTIVES (19h, 1Ah),
/// VIRTUALIZATION MANAGEMENT (1Ch), NVMe-MI (1Dh, 1Eh), DOORBELL BUFFER CONFIG (7Ch), FORMAT NVM (80h), GET LBA STATUS (86h), vendor
/// commands, and whatever is not known.
pub fn admin(opcode: u8, protected: bool) -> Admin {
    match opcode {
        admin::DELETE_SQ => Admin::DeleteSq,
        admin::CREATE_SQ => Admin::CreateSq,
        admin::GET_LOG_PAGE => Admin::GetLog,
        admin::DELETE_CQ => Admin::DeleteCq,
        admin::CREATE_CQ => Admin::CreateCq,
        admin::IDENTIFY => Admin::Identify,
        admin::ABORT => Admin::Abort,
        admin::SET_FEATURES => Admin::SetFeatures,
        admin::GET_FEATURES => Admin::GetFeatures,
        admin::ASYNC_EVENT_REQUEST => Admin::AsyncEvent,
        // It reads the medium and writes nothing.
        admin::DEVICE_SELF_TEST => Admin::Pass,
        // Other firmware could do anything with what it is sent; locks and erasure are not the guest's on a protected disk.
        admin::FIRMWARE_COMMIT | admin::SANITIZE if !protected => Admin::Pass,
        admin::FIRMWARE_DOWNLOAD if !protected => Admin::Data { dword: 10, unit: Unit::DwordsLessOne },
        admin::SECURITY_SEND | admin::SECURITY_RECEIVE if !protected => Admin::Data { dword: 11, unit: Unit::Bytes },
        _ => Admin::Refused,
    }
}

/// What becomes of a command of the NVM command set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nvm {
    Transfer {
        write: bool,
    },
    DatasetManagement,
    /// As it is, without data.
    Pass,
    Refused,
}

/// NVMe figure 346. Refused everywhere: COMPARE (05h), reservations (0Dh to 15h), COPY (19h), vendor commands, and whatever is not
/// known.
pub fn nvm(opcode: u8, protected: bool) -> Nvm {
    match opcode {
        nvm::READ => Nvm::Transfer { write: false },
        nvm::WRITE => Nvm::Transfer { write: true },
        nvm::FLUSH => Nvm::Pass,
        nvm::DATASET_MANAGEMENT => Nvm::DatasetManagement,
        // Zeros and marks would lie on a protected disk as they are; VERIFY would need its address translated, and nobody uses it.
        nvm::WRITE_ZEROES | nvm::WRITE_UNCORRECTABLE | nvm::VERIFY if !protected => Nvm::Pass,
        _ => Nvm::Refused,
    }
}

/// Bytes of data of a feature, or `None` when it is refused (NVMe figures 275, 196).
///
/// Refused: LBA ranges (03h, sectors by number), the host memory buffer (0Dh: memory that the device may use), predictable latency
/// (13h, 14h), host behaviour (16h), sanitizing (17h), command sets (19h), host identifier and reservations (81h to 83h), write
/// protection of namespaces (84h), vendor features, and whatever is not known.
pub fn feature_bytes(feature: u8) -> Option<u32> {
    match feature {
        // Arbitration, power, temperature, error recovery, write cache, number of queues, interrupts, atomicity, events.
        0x01 | 0x02 | 0x04..=0x0b => Some(0),
        feature::APST => Some(256),
        feature::TIMESTAMP => Some(8),
        // Keep-alive, thermal management, non-operational power, recovery level, software progress marker.
        0x0f..=0x12 | 0x80 => Some(0),
        _ => None,
    }
}

/// May this log page be read (NVMe figure 191)? On a protected controller those are refused that may hold what was written
/// (telemetry, persistent events) or that tell of refused commands.
pub fn log_passes(log: u8, protected: bool) -> bool {
    match log {
        // Errors, health, firmware slots, changed namespaces, self-test, endurance, asymmetric access, sanitize status.
        0x01..=0x04 | 0x06 | 0x09 | 0x0c | 0x81 => true,
        _ => !protected,
    }
}
