"""Names look secret by their words, and by nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.core.redact import HIDDEN, NAMES, Redactor
from watcher.core.redact.names import ABOUT, CARRIERS

REDACTOR = Redactor()
SECRET = "hunter2"

_SECRET_NAMES = """
password Password PASSWORD passwords db_password dbPassword DB_PASSWORD db-password db.password userpassword
passwordHash passwordhash pwdHash pwd_hash password2 password_confirm new_password oldPassword PGPASSWORD MYSQL_PWD
passwd passphrase passcode pass_phrase passWord DB_PASS dbPass dbpass smtp_pass SMTP_PASS userPass pass pass_hash
secret secrets client_secret clientSecret clientsecret CLIENT_SECRET app.secret webhook_secret SECRET_KEY secretKey
secretkey secret_key_base secret_id secretValue SECRET_VALUE shared_secret totp_secret token tokens authToken
auth_token authtoken access_token accessToken ACCESS_TOKEN refreshToken id_token csrftoken X-CSRFToken X-Auth-Token
GITHUB_TOKEN token_secret tokenValue token_hash password_reset_token page_access_token api_key apiKey apikey APIKEY
API_KEY api-key X-Api-Key x_api_key googleApiKey stripe_api_key api_keys apikeys APIKey AWS_SECRET_ACCESS_KEY
aws_access_key_id accessKeyId access_key accesskey private_key privateKey PRIVATE_KEY privkey signing_key
encryption_key encryptionKey master_key session_key ssh_key account_key AccountKey consumer_key subscription_key
license_key hmac_key fernet_key app_key client_key shared_key deploy_key auth_key jwt_key authorization Authorization
Proxy-Authorization HTTP_AUTHORIZATION auth Auth basic_auth http_auth proxyAuth auth_header authHeader auth_code oauth
cookie cookies Cookie Set-Cookie setcookie session_cookie cookie_jar cookie_value credential credentials
aws_credentials userCredentials creds cred db_creds gcp_creds_data connection_string connectionString ConnectionString
AZURE_STORAGE_CONNECTION_STRING conn_str connstr conn_string session_id sessionid sessionId PHPSESSID JSESSIONID otp
OTP totp otp_code otpCode pin pin_code pincode cvv CVV cvc cvv2 card_cvc ssn SSN user_ssn ssn_hash jwt JWT user_jwt
jwtHash csrf xsrf psk wifi_psk pw db_pw mnemonic seed_phrase recovery_codes backup_code backupCodes verification_code
security_code security_answer card_number cardNumber bearer X-Amz-Signature X-Goog-Signature X-Amz-Security-Token
npm_config__auth PASSWORD_EMAIL API_KEY_CLIENT_A TOKEN_USER DB_PASSWORD_SERVER1 PASSWORD_ON_HOST next_password
credential_details secret_second mask_secret credit_card creditCard credit_card_number recovery_phrase licenceKey
mfa_code access_code loginCode
"""

#: Of arguments, keys and settings of ordinary programs.
_SHOWN_NAMES = """
id pk uuid user user_id username userName email email_address first_name last_name full_name name title description
slug body subject message text content html template context locale language lang timezone country city street address
zip_code zipcode postal_code postcode phone phone_number mobile fax company department role roles group groups
permissions is_active is_staff is_superuser date_joined last_login created_at updated_at deleted_at published_at
expires_at start end start_date end_date due_date birthday age gender avatar image photo file filename file_name path
filepath directory url urls uri link href host hostname port scheme query params headers method status status_code
code state type kind key keys value values key_id sort_key primary_key foreign_key partition_key routing_key cache_key
object_key public_key keyword keywords keyboard monkey turkey hockey keystore_path lookup_key group_key hotkey
keyframe idempotency_key author authors author_id authority authenticated is_authenticated authentication_method
authentic auth_user_id auth_type auth_backend auth_provider auth_method auth_url auth_enabled auth_required
requires_auth oauth_provider oauth_scopes secretary secretary_id secretariat secretion tokenizer tokenize tokenized
tokenization tokenizer_name tokens_used token_count token_limit token_type token_type_ids token_url token_endpoint
token_ttl token_expires_at token_expiry token_lifetime token_name token_address token_symbol max_tokens max_new_tokens
min_tokens num_tokens n_tokens total_tokens prompt_tokens_details completion_tokens_details eos_token bos_token
pad_token unk_token stop_tokens next_token next_page_token page_token pageToken continuation_token has_token
tokens_per_second token_ids token_index password_reset_at password_changed_at password_expires password_policy
password_length password_min_length password_field password_strength password_validators password_reset_url
has_password is_password_set cookies_accepted first_token_latency credit_card_type credits
requires_password password_reset_timeout last_password_change password_hasher
password_file password_attempts password_required cookie_policy cookie_consent cookie_name cookie_domain cookie_path
cookie_secure cookie_samesite cookie_age cookie_banner secret_name secret_arn secret_version secret_path
secrets_manager secrets_manager_arn credential_type credentials_file credentials_path credential_provider
credentials_expiry passenger passengers passenger_count passive passing passed passes passport_country compass bypass
bypass_cache surpass encompass overpass underpass trespass first_pass second_pass forward_pass boarding_pass
season_pass low_pass high_pass pass_rate pass_count pass_through pass_fail pass_threshold password_hint_enabled
passage passthrough pinned pinned_at ping pinging shipping shipping_address mapping typing spin spinner opinion
pinterest pin_count pixel pineapple pinpoint option options optional opts adopted otpgen_enabled hotplug cotton
session sessions session_count session_start session_length session_type sessionmaker session_timeout sess_count
session_data credit credits credit_score credit_limit credited incredible accredited sacred credible credo cardinality
card card_type card_brand card_expiry cards cartoon account account_id account_number account_name accounts connection
connections connection_timeout connection_id connection_name string strings conn connector connected api api_version
api_url api_base api_name apis apikeys_count api_key_name api_key_required api_key_count access access_level
access_count accessed_at accessor accessory private is_private privacy private_notes private_ip sign signal signature
signatures signed_at sign_up signing_date design assignee assignment encryption encryption_algorithm encrypted
is_encrypted encryption_enabled encoding encode bearing bear bearer_type csrf_exempt csrf_enabled csrf_protect
jwt_algorithm jwt_audience jwt_issuer jwt_expiry pw_enabled pwm ssn_last4 ssn_required cvv_required otp_enabled
otp_expires_at otp_attempts pin_enabled pinout authorization_url authorization_status authorization_type authorized
authorizer authored item items product product_id sku price quantity amount total subtotal discount tax currency order
order_id cart_id invoice invoice_id payment payment_id payment_method transaction_id transaction refund customer
customer_id vendor queue exchange priority retries max_retries countdown eta timeout delay interval schedule cron task
task_id task_name args kwargs result results error errors exception traceback worker pool concurrency batch batch_size
chunk chunk_size limit offset page page_size per_page cursor next previous count index position rank score rating
weight width height size length depth color colour format mime_type content_type checksum sha256 md5 etag digest
fingerprint latitude longitude lat lng lon location region zone bucket prefix suffix folder storage backend database
table column field fields model instance object_id content_object app_label version revision branch commit tag tags
category categories parent parent_id children level comment comments note notes feedback review reviews event events
action source target origin destination channel topic recipient recipients sender reply_to cc bcc attachments
subject_line dry_run force verbose debug quiet overwrite recursive enabled disabled active archived featured visible
public monitor metric metrics sensor device device_id serial serial_number temperature humidity voltage current
score_threshold learning_rate epochs dataset split seed model_name checkpoint embedding vocab_size secret_santa
"""


SECRET_NAMES = _SECRET_NAMES.split()
SHOWN_NAMES = _SHOWN_NAMES.split()


def told_of(name: str, value: str) -> list[str]:
    """Texts in which a name has a value."""
    return [
        json.dumps({name: value}), repr({name: value}), f"{name}={value}", f"{name}: {value}",
        f"f({name}={value!r}, b=1)", rf"first\n{name}={value}", f"--{name} {value}", f"--{name}={value}",
        repr(["run", f"--{name}", value]),
        repr([(name, value)]), repr([[name, value], ["b", 1]]), repr({"name": name, "value": value}),
        repr({"option": f"--{name}", "value": value}), repr({"value": value, "name": name}),
    ]  # fmt: skip


def objects_of(name: str, value: str) -> list[Any]:
    return [
        {name: value}, [{"a": {name: [value]}}], [[name, value], ["b", 1]], ["run", f"--{name}", value, "-v"],
        {"pair": [name, value]}, {"a": {"given": [name, value]}}, {"cmd": [f"--{name}", value]},
        {"name": name, "value": value}, {"Value": value, "Name": name}, {"key": name, "value": value},
        {"field": name, "old": None, "new": value}, {"k": name, "v": value}, {"option": f"--{name}", "value": value},
        {"ParameterKey": name, "ParameterValue": value}, [{"name": "A", "value": "b"}, {"name": name, "value": value}],
    ]  # fmt: skip


def test_what_secret_names_have_is_masked() -> None:
    wrong = [name for name in SECRET_NAMES if not REDACTOR.is_secret(name)]
    assert not wrong
    wrong += [text for name in SECRET_NAMES for text in told_of(name, SECRET) if SECRET in REDACTOR.text(text)]
    assert not wrong
    for name in SECRET_NAMES:
        for value in objects_of(name, SECRET):
            shown = REDACTOR.json(json.dumps(value).encode())
            assert SECRET.encode() not in shown
            assert HIDDEN.encode() in shown


def test_what_ordinary_names_have_is_shown() -> None:
    assert len(SHOWN_NAMES) > 500
    wrong = [name for name in SHOWN_NAMES if REDACTOR.is_secret(name)]
    assert not wrong
    wrong += [text for name in SHOWN_NAMES for text in told_of(name, SECRET) if REDACTOR.text(text) is not text]
    assert not wrong
    for name in SHOWN_NAMES:
        for value in objects_of(name, SECRET):
            text = json.dumps(value).encode()
            assert REDACTOR.json(text) is text


@pytest.mark.parametrize(
    "value",
    [
        {"pass": 12, "fail": 3}, {"pin": 17}, {"password": None, "auth": True}, {"fields": ["password", "email"]},
        {"columns": ["token", "kind", "value"]}, {"only": ["password", "email"]}, {"cmd": ["--token", "--verbose"]},
        {"missing": ["api_key", "region"]}, {"order_by": ["token", "id"]},
        ["Your password was changed", "Dear Ann, it was."],
        ["reset your password", "https://example.com/help"], {"name": "password", "label": "Your password"},
        {"key": "password", "value": None}, ["ls", "-l", "--author", "ann"], ["psql", "--no-password", "--host", "h"],
        {"name": "ann", "value": "token"}, [["tokens", 3], ["words", 5]],
    ],
)  # fmt: skip
def test_what_is_no_secret_below_such_names_is_shown(value: Any) -> None:
    text = json.dumps(value).encode()
    assert REDACTOR.json(text) is text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            f"Command '['mysql', '--password', '{SECRET}', '-h', 'db']' returned non-zero exit status 1.",
            "Command '['mysql', '--password', '***', '-h', 'db']' returned non-zero exit status 1.",
        ),
        (
            f"Command 'mysql --password {SECRET} -h db' returned non-zero exit status 1.",
            "Command 'mysql --password *** -h db' returned non-zero exit status 1.",
        ),
        (
            f"Command '['curl', '-H', 'X-Api-Key: {SECRET}', 'http://h/']' died with <Signals.SIGKILL: 9>.",
            "Command '['curl', '-H', 'X-Api-Key: ***', 'http://h/']' died with <Signals.SIGKILL: 9>.",
        ),
        (f"docker run -e API_KEY={SECRET} image", "docker run -e API_KEY=*** image"),
        (f"tool --api-key '{SECRET} x' --verbose", "tool --api-key '***' --verbose"),
        (f"java -Ddb.password={SECRET} -jar a.jar", "java -Ddb.password=*** -jar a.jar"),
        (f"[(b'authorization', b'{SECRET}'), (b'host', b'h')]", "[(b'authorization', b'***'), (b'host', b'h')]"),
        (f"('API_KEY', '{SECRET}')", "('API_KEY', '***')"),
        (f"[EnvVar(name='API_KEY', value='{SECRET}')]", "[EnvVar(name='API_KEY', value='***')]"),
        (f"{{'value': '{SECRET}', 'name': 'API_KEY'}}", "{'value': '***', 'name': 'API_KEY'}"),
        (f"- name: A\n  value: b\n- name: API_KEY\n  value: {SECRET}\n",
         "- name: A\n  value: b\n- name: API_KEY\n  value: ***\n"),
        (f"<login><password>{SECRET}</password></login>", "<login><password>***</password></login>"),
        (f"password: {SECRET}, user = 3", "password: ***, user = 3"),
        (f"def f(password: Hidden = '{SECRET}'):", "def f(password: ***):"),
        (f"def f(password: Optional[str] = '{SECRET}'):", "def f(password: Optional[str] = '***'):"),
        (f"Server=h;User Id=me;Password={SECRET};Encrypt=yes", "Server=h;User Id=me;Password=***;Encrypt=yes"),
        (
            f"{{'field': 'password', 'old': '{SECRET}', 'new': '{SECRET}'}}",
            "{'field': 'password', 'old': '***', 'new': '***'}",
        ),
        (f"{{'password': SecretStr('{SECRET}')}}", "{'password': ***}"),
        (f"api_key = os.environ.get('A', '{SECRET}')", "api_key = ***"),
        (f"ALTER USER ann WITH PASSWORD '{SECRET}'", "ALTER USER ann WITH PASSWORD '***'"),
        (f"DETAIL:  Key (token)=({SECRET}) already exists.", "DETAIL:  Key (token)=*** already exists."),
        (f'password="""{SECRET}"""', 'password="""***"""'),
        (f"password%3D{SECRET}&a=1", "password%3D***&a=1"),
        (f"%22password%22%3A%22{SECRET}%22", "%22password%22%3A%22***"),
        ("(password, user) in fields", "(password, user) in fields"),
        ("['password', 'email', 'name']", "['password', 'email', 'name']"),
        ("fields: ['password', 'email']", "fields: ['password', 'email']"),
    ],
)  # fmt: skip
def test_names_in_texts(text: str, shown: str) -> None:
    assert REDACTOR.text(text) == shown
    assert REDACTOR.text(shown) == shown


@given(
    st.lists(st.sampled_from([*NAMES, *CARRIERS, *sorted(ABOUT), "user", "x"]), min_size=1, max_size=3),
    st.sampled_from(["_", "-", ".", " ", "", "camel"]),
)
def test_the_search_finds_whatever_the_rules_find(terms: list[str], between: str) -> None:
    words = " ".join(terms).split()
    name = "".join(word.title() for word in words) if between == "camel" else between.join(words)
    for each in (name, name.upper(), name.title(), name[:1].lower() + name[1:]):
        assert REDACTOR.suspects(f'{{"{each}": "x"}}') or not REDACTOR.is_secret(each)


def test_bytes_are_names_too() -> None:
    assert REDACTOR.is_secret(b"x-api-key")
    assert REDACTOR.pair((b"authorization", b"Basic x")) == [b"authorization", HIDDEN]
