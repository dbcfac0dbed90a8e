//! Who asks: an account key, a SAS, or an identity of Entra that gets a token.
//!
//! What the policy says comes first. Without that, the environment's variables, as the Azure SDKs and
//! `az` name them; then the identity of the Pod, of the machine, and of the person who is logged in to `az`.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use azure_core::{
    Error,
    credentials::{AccessToken, Secret as SdkSecret, TokenCredential, TokenRequestOptions},
    error::ErrorKind as SdkErrorKind,
    http::ClientOptions,
};
use azure_identity::{
    AzureCliCredential, ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential,
    WorkloadIdentityCredentialOptions,
};
use tokio::{net::TcpStream, sync::OnceCell, time::timeout};

use super::{
    super::{ErrorKind, failure::Failure, said::chain},
    connect::AzureOptions,
    sign::{Sas, SharedKey},
};

/// How requests are made ours.
#[derive(Debug)]
pub(super) enum Credential {
    Key(SharedKey),
    Sas(Sas),
    Token(Arc<dyn TokenCredential>),
}

/// No identity was found anywhere. The words are also those by which the error is known again.
pub(super) const NOT_FOUND: &str = "no Azure identity was found";

/// What the policy says, else what the environment has. Nothing is asked over the network yet.
///
/// # Errors
/// A key or a SAS that is none, variables that contradict each other.
pub(super) fn choose(
    account: &str,
    options: &AzureOptions,
    client: &ClientOptions,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Credential, Failure> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let Some(key) = &options.account_key {
        return key_of(account, key.expose(), "`azure.accountKey`");
    }
    if let Some(sas) = &options.sas {
        return sas_of(sas.expose(), "`azure.sas`");
    }
    if let Some(key) = set("AZURE_STORAGE_KEY") {
        return key_of(account, &key, "AZURE_STORAGE_KEY");
    }
    if let Some(sas) = set("AZURE_STORAGE_SAS_TOKEN") {
        return sas_of(&sas, "AZURE_STORAGE_SAS_TOKEN");
    }
    let (tenant, id) = (set("AZURE_TENANT_ID"), set("AZURE_CLIENT_ID"));
    let credential = match (tenant, id, set("AZURE_CLIENT_SECRET"), set("AZURE_FEDERATED_TOKEN_FILE")) {
        (Some(tenant), Some(id), Some(secret), _) => client_secret(&tenant, id, secret, client),
        (Some(tenant), Some(id), None, Some(file)) => workload_identity(tenant, id, file.into(), client),
        (tenant, id, secret, file) if secret.is_some() || file.is_some() => {
            let missing = if tenant.is_none() { "AZURE_TENANT_ID" } else { "AZURE_CLIENT_ID" };
            let present = if secret.is_some() { "AZURE_CLIENT_SECRET" } else { "AZURE_FEDERATED_TOKEN_FILE" };
            let _ = id;
            return Err(unusable(format!("{present} is set, and {missing} is not: set both")));
        }
        (_, id, _, _) => Ok(Arc::new(Ambient::new(id, client.clone())) as Arc<dyn TokenCredential>),
    };
    credential.map(Credential::Token).map_err(|error| {
        unusable("the identity that the AZURE_ variables name cannot be used: correct them").because(chain(&error))
    })
}

fn unusable(reason: impl Into<String>) -> Failure {
    Failure::new(ErrorKind::Unauthenticated, reason)
}

fn key_of(account: &str, key: &str, place: &str) -> Result<Credential, Failure> {
    let key = SharedKey::new(account, key);
    key.map(Credential::Key).ok_or_else(|| unusable(format!("{place} is no account key: it must be Base64")))
}

fn sas_of(sas: &str, place: &str) -> Result<Credential, Failure> {
    let wrong = || unusable(format!("{place} is no SAS: it must be parameters like sv=…&se=…&sig=…"));
    let sas = Sas::new(sas).ok_or_else(wrong)?;
    if sas.is_of_one_object() {
        return Err(unusable(format!("{place} is for one object (sr=b): make one for the container (sr=c)")));
    }
    Ok(Credential::Sas(sas))
}

type Made = azure_core::Result<Arc<dyn TokenCredential>>;

fn client_secret(tenant: &str, id: String, secret: String, client: &ClientOptions) -> Made {
    let options = ClientSecretCredentialOptions { client_options: client.clone() };
    Ok(ClientSecretCredential::new(tenant, id, SdkSecret::new(secret), Some(options))?)
}

fn workload_identity(tenant: String, id: String, file: PathBuf, client: &ClientOptions) -> Made {
    let options = WorkloadIdentityCredentialOptions {
        credential_options: ClientAssertionCredentialOptions { client_options: client.clone() },
        client_id: Some(id),
        tenant_id: Some(tenant),
        token_file_path: Some(file),
    };
    Ok(WorkloadIdentityCredential::new(Some(options))?)
}

/// The identity of the machine, or of the person who is logged in to `az`: the first that gives a token is
/// asked from then on.
#[derive(Debug)]
struct Ambient {
    /// Which of the machine's identities, if it has several: its client id.
    id: Option<String>,
    client: ClientOptions,
    found: OnceCell<Arc<dyn TokenCredential>>,
}

/// Where a machine of Azure is asked who it is.
const MACHINE: &str = "169.254.169.254:80";
/// Inside Azure it answers at once; elsewhere nothing does.
const MACHINE_ANSWERS: Duration = Duration::from_secs(1);

impl Ambient {
    fn new(id: Option<String>, client: ClientOptions) -> Self {
        Self { id, client, found: OnceCell::new() }
    }

    async fn find(&self, scopes: &[&str]) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let mut reasons = Vec::new();
        for (name, made) in [("managed identity", self.managed_identity().await), ("Azure CLI", azure_cli())] {
            let asked = match made {
                Ok(Some(credential)) => credential.get_token(scopes, None).await.map(|_| credential),
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            match asked {
                Ok(credential) => return Ok(credential),
                Err(error) => reasons.push(format!("{name}: {}", chain(&error))),
            }
        }
        let reasons = if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join("; ")) };
        Err(Error::with_message(SdkErrorKind::Credential, format!("{NOT_FOUND}{reasons}")))
    }

    async fn managed_identity(&self) -> azure_core::Result<Option<Arc<dyn TokenCredential>>> {
        let service = std::env::var_os("IDENTITY_ENDPOINT").is_some();
        let machine = async { matches!(timeout(MACHINE_ANSWERS, TcpStream::connect(MACHINE)).await, Ok(Ok(_))) };
        if !service && !machine.await {
            return Ok(None);
        }
        let options = ManagedIdentityCredentialOptions {
            user_assigned_id: self.id.clone().map(UserAssignedId::ClientId),
            client_options: self.client.clone(),
        };
        let credential: Arc<dyn TokenCredential> = ManagedIdentityCredential::new(Some(options))?;
        Ok(Some(credential))
    }
}

fn azure_cli() -> azure_core::Result<Option<Arc<dyn TokenCredential>>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|folder| folder.join("az").is_file()) {
        return Ok(None);
    }
    let credential: Arc<dyn TokenCredential> = AzureCliCredential::new(None)?;
    Ok(Some(credential))
}

#[async_trait]
impl TokenCredential for Ambient {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        self.found.get_or_try_init(|| self.find(scopes)).await?.get_token(scopes, options).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Secret;

    fn chosen(options: &AzureOptions, variables: &[(&str, &str)]) -> Result<Credential, Failure> {
        let variable =
            |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned());
        choose("account", options, &ClientOptions::default(), variable)
    }

    #[test]
    fn the_policy_comes_before_the_environment_and_a_key_before_an_identity() {
        let identity = [
            ("AZURE_TENANT_ID", "t"),
            ("AZURE_CLIENT_ID", "c"),
            ("AZURE_CLIENT_SECRET", "s"),
            ("AZURE_STORAGE_KEY", ""),
        ];
        let sas = ("AZURE_STORAGE_SAS_TOKEN", "sig=x");
        let with_key = AzureOptions { account_key: Some(Secret::new("a2V5")), ..AzureOptions::default() };
        assert!(matches!(chosen(&with_key, &[sas]), Ok(Credential::Key(_))));
        let with_sas = AzureOptions { sas: Some(Secret::new("?sig=x")), ..AzureOptions::default() };
        assert!(matches!(chosen(&with_sas, &[("AZURE_STORAGE_KEY", "a2V5")]), Ok(Credential::Sas(_))));
        let nothing = AzureOptions::default();
        assert!(matches!(chosen(&nothing, &[("AZURE_STORAGE_KEY", "a2V5"), sas]), Ok(Credential::Key(_))));
        assert!(matches!(chosen(&nothing, &[identity[0], identity[1], sas]), Ok(Credential::Sas(_))));
        let token = |variables: &[(&str, &str)]| match chosen(&nothing, variables) {
            Ok(Credential::Token(credential)) => format!("{credential:?}"),
            other => panic!("{other:?}"),
        };
        assert!(token(&identity).contains("ClientSecretCredential"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "token").unwrap();
        let file = file.path().to_str().unwrap();
        let pod = [("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c"), ("AZURE_FEDERATED_TOKEN_FILE", file)];
        assert!(token(&pod).contains("WorkloadIdentity"), "{}", token(&pod));
        assert!(token(&[("AZURE_CLIENT_ID", "c")]).contains("Ambient"));
    }

    #[test]
    fn what_is_half_said_or_no_secret_is_refused_and_not_shown() {
        let nothing = AzureOptions::default();
        for (variables, words) in [
            ([("AZURE_CLIENT_SECRET", "hunter2")].as_slice(), "AZURE_CLIENT_SECRET is set, and AZURE_TENANT_ID is not"),
            (&[("AZURE_FEDERATED_TOKEN_FILE", "/f"), ("AZURE_TENANT_ID", "t")], "AZURE_CLIENT_ID is not"),
            (&[("AZURE_STORAGE_KEY", "hunter2 !")], "AZURE_STORAGE_KEY is no account key"),
            (&[("AZURE_STORAGE_SAS_TOKEN", "hunter2")], "AZURE_STORAGE_SAS_TOKEN is no SAS"),
            (
                &[("AZURE_STORAGE_SAS_TOKEN", "sr=b&sig=hunter2")],
                "is for one object (sr=b): make one for the container",
            ),
        ] {
            let failure = chosen(&nothing, variables).unwrap_err();
            assert_eq!(failure.kind, ErrorKind::Unauthenticated);
            assert!(failure.reason.contains(words) && !failure.reason.contains("hunter2"), "{failure:?}");
        }
    }
}
