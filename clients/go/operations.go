// Code generated from openapi.json. DO NOT EDIT.

package tollgate

// Every native operation of the API, made of openapi.json by a test; not written by hand.
var (
	OpBalance             = Operation{"balance", "GET", "/v1/orgs/{org}/balance", []string{"users_limit"}}
	OpBill                = Operation{"bill", "GET", "/v1/orgs/{org}/bill", []string{"month", "format"}}
	OpCapture             = Operation{"capture", "POST", "/v1/holds/{hold}/capture", nil}
	OpChannelDeliveries   = Operation{"channel_deliveries", "GET", "/v1/channels/{id}/deliveries", []string{"limit", "before", "requests"}}
	OpCheck               = Operation{"check", "POST", "/v1/usage/check", nil}
	OpCloseBill           = Operation{"close_bill", "POST", "/v1/orgs/{org}/bill/close", nil}
	OpCreateApiKey        = Operation{"create_api_key", "POST", "/v1/api-keys", nil}
	OpCreateChannel       = Operation{"create_channel", "POST", "/v1/channels", nil}
	OpCreatePortalLink    = Operation{"create_portal_link", "POST", "/v1/orgs/{org}/portal-links", nil}
	OpDeleteChannel       = Operation{"delete_channel", "DELETE", "/v1/channels/{id}", nil}
	OpDeleteLimit         = Operation{"delete_limit", "DELETE", "/v1/orgs/{org}/limits", []string{"meter", "scope", "user", "path", "window"}}
	OpDeletePlan          = Operation{"delete_plan", "DELETE", "/v1/orgs/{org}/plan", []string{"at"}}
	OpDeleteScheduledPlan = Operation{"delete_scheduled_plan", "DELETE", "/v1/orgs/{org}/plan/scheduled", nil}
	OpGetCatalog          = Operation{"get_catalog", "GET", "/v1/catalog", nil}
	OpGetCatalogVersion   = Operation{"get_catalog_version", "GET", "/v1/catalog/versions/{version}", nil}
	OpGetChannel          = Operation{"get_channel", "GET", "/v1/channels/{id}", nil}
	OpGetHold             = Operation{"get_hold", "GET", "/v1/holds/{hold}", nil}
	OpGetOrg              = Operation{"get_org", "GET", "/v1/orgs/{org}", nil}
	OpGetOrgNotices       = Operation{"get_org_notices", "GET", "/v1/orgs/{org}/notices", nil}
	OpGetPlan             = Operation{"get_plan", "GET", "/v1/orgs/{org}/plan", nil}
	OpHealth              = Operation{"health", "GET", "/health", nil}
	OpHold                = Operation{"hold", "POST", "/v1/holds", nil}
	OpLedger              = Operation{"ledger", "GET", "/v1/orgs/{org}/ledger", []string{"order", "kind", "user", "path", "meter", "key", "actor", "from", "to", "limit", "cursor"}}
	OpLedgerEntry         = Operation{"ledger_entry", "GET", "/v1/orgs/{org}/ledger/{entry}", nil}
	OpListApiKeys         = Operation{"list_api_keys", "GET", "/v1/api-keys", []string{"limit", "cursor"}}
	OpListBills           = Operation{"list_bills", "GET", "/v1/orgs/{org}/bills", []string{"limit", "cursor"}}
	OpListCatalogs        = Operation{"list_catalogs", "GET", "/v1/catalog/versions", []string{"limit", "cursor"}}
	OpListChannels        = Operation{"list_channels", "GET", "/v1/channels", nil}
	OpListHolds           = Operation{"list_holds", "GET", "/v1/orgs/{org}/holds", []string{"limit", "cursor"}}
	OpListLimits          = Operation{"list_limits", "GET", "/v1/orgs/{org}/limits", nil}
	OpListOrgs            = Operation{"list_orgs", "GET", "/v1/orgs", []string{"plan", "name", "used_at_least", "refused_today", "limit", "cursor"}}
	OpListPaths           = Operation{"list_paths", "GET", "/v1/orgs/{org}/paths", []string{"meter", "limit", "cursor"}}
	OpListTopUps          = Operation{"list_top_ups", "GET", "/v1/orgs/{org}/top-ups", []string{"meter", "limit", "cursor"}}
	OpListUsers           = Operation{"list_users", "GET", "/v1/orgs/{org}/users", []string{"meter", "month", "limit", "cursor"}}
	OpNotices             = Operation{"notices", "GET", "/v1/notices", []string{"org", "kind", "since", "limit", "cursor"}}
	OpPutCatalog          = Operation{"put_catalog", "PUT", "/v1/catalog", []string{"dry_run"}}
	OpPutChannel          = Operation{"put_channel", "PUT", "/v1/channels/{id}", nil}
	OpPutLimit            = Operation{"put_limit", "PUT", "/v1/orgs/{org}/limits", nil}
	OpPutOrg              = Operation{"put_org", "PUT", "/v1/orgs/{org}", nil}
	OpPutOrgNotices       = Operation{"put_org_notices", "PUT", "/v1/orgs/{org}/notices", nil}
	OpPutPlan             = Operation{"put_plan", "PUT", "/v1/orgs/{org}/plan", nil}
	OpReady               = Operation{"ready", "GET", "/ready", nil}
	OpRecord              = Operation{"record", "POST", "/v1/usage/batch", []string{"results"}}
	OpRelease             = Operation{"release", "POST", "/v1/holds/{hold}/release", nil}
	OpReplayChannel       = Operation{"replay_channel", "POST", "/v1/channels/{id}/replay", nil}
	OpReverse             = Operation{"reverse", "POST", "/v1/usage/reversals", nil}
	OpRevokeApiKey        = Operation{"revoke_api_key", "DELETE", "/v1/api-keys/{id}", nil}
	OpRotateChannelSecret = Operation{"rotate_channel_secret", "POST", "/v1/channels/{id}/secret", nil}
	OpTestChannel         = Operation{"test_channel", "POST", "/v1/channels/{id}/test", nil}
	OpTopUp               = Operation{"top_up", "POST", "/v1/orgs/{org}/top-ups", nil}
	OpUsageSeries         = Operation{"usage_series", "GET", "/v1/orgs/{org}/usage", []string{"meter", "window", "from", "to", "user", "group_by", "limit", "cursor"}}
	OpUse                 = Operation{"use", "POST", "/v1/usage", nil}
	OpVoidTopUp           = Operation{"void_top_up", "POST", "/v1/orgs/{org}/top-ups/{entry}/void", nil}
	OpVoidTopUpByKey      = Operation{"void_top_up_by_key", "POST", "/v1/orgs/{org}/top-ups/void", nil}
	OpWhatIf              = Operation{"what_if", "POST", "/v1/whatif", nil}
)
