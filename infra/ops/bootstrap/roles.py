"""What the identities of a pipeline may do: exactly what the Terraform module needs.

A test derives from the module's resources that no role is missing and none is unneeded.
The services' own references say which role has the permissions of a resource:
https://cloud.google.com/iam/docs/understanding-roles.
"""

from collections.abc import Mapping

#: Role of the deploy identity on the project -> what it makes with it.
DEPLOYER: Mapping[str, tuple[str, ...]] = {
    "roles/artifactregistry.admin": (
        "google_artifact_registry_repository",
        "google_artifact_registry_repository_iam_member",
    ),
    "roles/cloudfunctions.developer": ("google_cloudfunctions2_function",),
    "roles/cloudscheduler.admin": ("google_cloud_scheduler_job",),
    "roles/datastore.owner": (
        "google_firestore_backup_schedule",
        "google_firestore_database",
        "google_firestore_field",
        "google_firestore_index",
    ),
    "roles/eventarc.admin": ("google_eventarc_google_channel_config",),
    "roles/iam.roleAdmin": ("google_project_iam_custom_role",),
    "roles/iam.serviceAccountAdmin": (
        "google_service_account",
        "google_service_account_iam_member",
    ),
    # To deploy what runs, or calls, as one of the module's accounts.
    "roles/iam.serviceAccountUser": (
        "google_cloud_scheduler_job",
        "google_cloudfunctions2_function",
        "google_pubsub_subscription",
    ),
    "roles/logging.configWriter": (
        "google_logging_metric",
        "google_logging_project_bucket_config",
        "google_logging_project_sink",
    ),
    "roles/monitoring.editor": (
        "google_monitoring_alert_policy",
        "google_monitoring_custom_service",
        "google_monitoring_dashboard",
        "google_monitoring_notification_channel",
        "google_monitoring_slo",
    ),
    "roles/pubsub.admin": (
        "google_pubsub_subscription",
        "google_pubsub_subscription_iam_member",
        "google_pubsub_topic",
        "google_pubsub_topic_iam_member",
    ),
    "roles/resourcemanager.projectIamAdmin": (
        "google_project_iam_audit_config",
        "google_project_iam_member",
    ),
    "roles/run.admin": ("google_cloud_run_v2_service_iam_binding",),
    "roles/secretmanager.admin": (
        "google_secret_manager_secret",
        "google_secret_manager_secret_iam_member",
    ),
    "roles/serviceusage.serviceUsageAdmin": (
        "google_project_service",
        "google_project_service_identity",
    ),
    # The state's bucket too.
    "roles/storage.admin": (
        "google_storage_bucket",
        "google_storage_bucket_iam_member",
        "google_storage_bucket_object",
    ),
}

#: What an option of the module makes outside of the project -> the role that it takes there.
ELSEWHERE: Mapping[str, str] = {
    "google_billing_budget": "roles/billing.costsManager",
    "google_kms_crypto_key_iam_member": "roles/cloudkms.admin",
}

#: Roles of the identity that plans in a pull request: it reads settings, and changes nothing.
PLANNER = (
    "roles/iam.securityReviewer",
    "roles/serviceusage.serviceUsageConsumer",
    "roles/viewer",
)
