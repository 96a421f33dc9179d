# What Leasehold may do in OpenBao or Vault: write the secrets of leases and delete them with all their versions.
# It reads and lists nothing. The engine is of version 2 and mounted at leasehold/; see openbao.yaml and vault.yaml.
path "leasehold/data/leases/*" {
  capabilities = ["create", "update"]
}

path "leasehold/metadata/leases/*" {
  capabilities = ["delete"]
}

path "leasehold/data/current/*" {
  capabilities = ["create", "update"]
}

path "leasehold/metadata/current/*" {
  capabilities = ["delete"]
}
