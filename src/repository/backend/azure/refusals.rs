//! What the store's refusals mean, by the codes that it documents, and what is to be done about each.

use super::super::{ErrorKind, proxy};

/// A refusal, known by its code, or else by its status.
pub(super) struct Refusal {
    pub(super) codes: &'static [&'static str],
    pub(super) statuses: &'static [u16],
    pub(super) kind: ErrorKind,
    pub(super) passing: bool,
    pub(super) reason: &'static str,
}

const fn refused(codes: &'static [&'static str], kind: ErrorKind, reason: &'static str) -> Refusal {
    Refusal { codes, statuses: &[], kind, passing: false, reason }
}

impl Refusal {
    const fn or(self, statuses: &'static [u16]) -> Self {
        Self { statuses, ..self }
    }

    const fn passing(self) -> Self {
        Self { passing: true, ..self }
    }
}

/// The first that has the code counts, else the first that has the status.
pub(super) const REFUSALS: &[Refusal] = &[
    refused(&["BlobNotFound"], ErrorKind::NotFound, "there is no such object"),
    refused(
        &["ContainerNotFound", "ContainerDisabled"],
        ErrorKind::NoSuchStore,
        "the container does not exist: make it, or correct its name, the account or the endpoint",
    ),
    refused(
        &["ContainerBeingDeleted"],
        ErrorKind::NoSuchStore,
        "the container is being deleted: make it again once it is gone, or correct its name",
    ),
    refused(
        &["ResourceNotFound", "InvalidResourceName", "InvalidUri", "OutOfRangeInput"],
        ErrorKind::NoSuchStore,
        "the store does not know the place: correct the account, the container or the endpoint",
    ),
    refused(&[], ErrorKind::Unreachable, proxy::WANTS_CREDENTIALS).or(&[407]),
    refused(
        &["AccountIsDisabled"],
        ErrorKind::NoSuchStore,
        "the storage account is disabled: renew the subscription, or use another account",
    ),
    refused(&["AccountBeingCreated"], ErrorKind::Other, "the storage account is being created: wait until it is there")
        .passing(),
    // `unauthenticated` says why.
    refused(&["AuthenticationFailed", "InvalidAuthenticationInfo"], ErrorKind::Unauthenticated, "").or(&[401]),
    refused(
        &["NoAuthenticationInformation", "PublicAccessNotPermitted"],
        ErrorKind::Unauthenticated,
        "the store takes no requests without credentials: say `azure.accountKey` or `azure.sas`, or use an identity of Entra",
    ),
    refused(
        &["KeyBasedAuthenticationNotPermitted"],
        ErrorKind::Unauthenticated,
        "the storage account takes no keys, and no SAS that a key has signed: use an identity of Entra",
    ),
    refused(
        &["AuthorizationProtocolMismatch", "AccountRequiresHttps"],
        ErrorKind::Unauthenticated,
        "the store takes these credentials over https only: correct the endpoint",
    ),
    refused(
        &["AuthorizationFailure", "AuthorizationSourceIPMismatch", "IpAuthorizationSourceMismatch"],
        ErrorKind::PermissionDenied,
        "the store does not take requests from this network, or the SAS does not allow it: look at the account's firewall",
    ),
    refused(
        &["BlobImmutableDueToPolicy"],
        ErrorKind::Locked,
        "the container is immutable for a time, and the object cannot be deleted or written before its end: wait for it",
    ),
    refused(
        &["BlobImmutableDueToLegalHold"],
        ErrorKind::Locked,
        "the object is under a legal hold, and cannot be deleted or written before it is lifted: ask who has put it on",
    ),
    refused(
        &["BlobOperationNotSupported", "ResourceTypeMismatch", "PathAlreadyExists"],
        ErrorKind::Unsupported,
        "the account has a hierarchical namespace, which drctl cannot use: use one without",
    ),
    refused(
        &["LeaseIdMissing", "LeaseIdMismatchWithBlobOperation"],
        ErrorKind::PermissionDenied,
        "another program holds a lease on the object: break the lease",
    ),
    refused(
        &["SnapshotsPresent"],
        ErrorKind::PermissionDenied,
        "the object has snapshots, which drctl never makes: delete them first",
    ),
    refused(&["InvalidRange"], ErrorKind::Other, "the bytes asked for are not within the object").or(&[416]),
    refused(
        &[
            "UnsupportedHeader",
            "UnsupportedHttpVerb",
            "InvalidHeaderValue",
            "FeatureVersionMismatch",
            "NotImplemented",
            "APINotImplemented",
        ],
        ErrorKind::Unsupported,
        "the store does not know this operation, or this version of the protocol, which drctl needs: correct the endpoint, or \
         bring the store up to date",
    )
    .or(&[405, 501]),
    refused(&["RequestBodyTooLarge"], ErrorKind::Unsupported, "the store does not take objects of this size")
        .or(&[413]),
    refused(
        &["BlobArchived", "BlobBeingRehydrated"],
        ErrorKind::Unsupported,
        "the object was moved to the archive tier: bring it back to an online tier first",
    ),
    refused(&["Md5Mismatch", "InvalidMd5"], ErrorKind::Other, "the store received other bytes than were sent")
        .passing(),
    refused(&["OperationTimedOut"], ErrorKind::TimedOut, "the store did not get the request done in time")
        .or(&[408])
        .passing(),
    refused(&["ServerBusy"], ErrorKind::Other, "the store is overloaded or asks to slow down").passing(),
    refused(&[], ErrorKind::Full, "the store has no space left, or a quota is used up: make room").or(&[507]),
    refused(
        &[
            "AuthorizationPermissionMismatch",
            "InsufficientAccountPermissions",
            "AuthorizationServiceMismatch",
            "AuthorizationResourceTypeMismatch",
        ],
        ErrorKind::PermissionDenied,
        "the credentials do not allow it: see docs/azure.md for the role or the SAS that drctl needs",
    )
    .or(&[403]),
];
