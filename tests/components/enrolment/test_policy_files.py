"""The rights as a policy document, and enrolment where the store's administrator makes the identity."""

from __future__ import annotations

import json

import pytest

from components.enrolment.policy import policy_document
from components.enrolment.policy_files import PolicyFiles, read_key_file
from components.enrolment.port import ByHand, DeviceIdentity, EnrolmentError, Key, KeyNeeded

DEVICE = DeviceIdentity("dev1", "plant1")
DOCUMENT = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "PutOwnImagesAndReport",
            "Effect": "Allow",
            "Action": "s3:PutObject",
            "Resource": ["arn:aws:s3:::kizu-raw/plant1/dev1/*", "arn:aws:s3:::kizu-fleet/dev1/*"],
        },
        {
            "Sid": "GetReleases",
            "Effect": "Allow",
            "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::kizu-releases/*",
        },
    ],
}


def test_the_policy_allows_a_devices_part_and_nothing_else():
    """The whole document. What it means in a real store is tried in test_rights: the same document goes there."""
    assert policy_document(DEVICE) == DOCUMENT


def test_the_policy_names_the_buckets_of_its_installation():
    """The policy names only buckets with the prefix of its installation."""
    text = json.dumps(policy_document(DeviceIdentity("dev1", "plant1", bucket_prefix="other-")))
    assert "kizu-" not in text
    assert "arn:aws:s3:::other-fleet/dev1/*" in text


def test_the_document_in_the_store_is_this_one(identities, enrolled):
    """SeaweedFS keeps the policy document as it was given."""
    enrolled("dev1")
    answer = identities._client.get_user_policy(UserName="device-dev1", PolicyName="kizu-device")
    assert answer["PolicyDocument"] == DOCUMENT


def test_the_administrator_is_told_what_to_make_and_the_key_is_handed_on(tmp_path):
    """Enrolment writes the policy file, and later takes the key that the administrator made. It makes no identity."""
    with pytest.raises(KeyNeeded, match=r"device-dev1.*--key-file"):
        PolicyFiles(tmp_path / "policies").create(DEVICE)
    file = tmp_path / "policies" / "device-dev1.policy.json"
    assert json.loads(file.read_bytes()) == DOCUMENT
    key = Key("access", "secret")
    provider = PolicyFiles(tmp_path / "policies", key)
    assert provider.create(DEVICE) == key
    assert [(device.name, device.site) for device in provider.devices()] == [("dev1", "plant1")]
    assert "secret" not in file.read_text()


def test_a_revocation_that_a_person_has_to_make_is_never_said_to_be_done(tmp_path):
    """A revocation that a person has to make raises an error until the policy is gone."""
    provider = PolicyFiles(tmp_path, Key("access", "secret"))
    provider.create(DEVICE)
    with pytest.raises(ByHand, match="not out yet"):
        provider.revoke("dev1")
    (tmp_path / "device-dev1.policy.json").unlink()
    assert provider.revoke("dev1") is False


@pytest.mark.parametrize(
    "form",
    [
        {"access_key": "a", "secret_key": "b"},
        {"AccessKey": {"UserName": "device-dev1", "AccessKeyId": "a", "SecretAccessKey": "b", "Status": "Active"}},
    ],
)
def test_a_key_file_is_read_in_both_forms_where_it_is_private(tmp_path, form):
    """A private key file is read in our form and as `aws iam create-access-key` prints it; an open one is refused."""
    file = tmp_path / "key.json"
    file.write_text(json.dumps(form))
    file.chmod(0o644)
    with pytest.raises(EnrolmentError, match="chmod 600"):
        read_key_file(file)
    file.chmod(0o600)
    assert read_key_file(file) == Key("a", "b")


@pytest.mark.parametrize(
    "text", ["", "wJalrXUtnFEMI", "[]", '{"access_key": "a"}', '{"access_key": "", "secret_key": 1}']
)
def test_a_key_file_of_another_form_is_refused_without_showing_it(tmp_path, text):
    """A key file of another form is refused without showing its text, which may hold a secret."""
    file = tmp_path / "key.json"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(EnrolmentError, match="another form") as caught:
        read_key_file(file)
    assert "wJalr" not in str(caught.value)
    with pytest.raises(EnrolmentError, match="cannot read"):
        read_key_file(tmp_path / "none.json")
