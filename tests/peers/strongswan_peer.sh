#!/bin/sh
# From the lab of the specification digest; the changes since are in the history.
# A strongSwan responder in a network namespace of its own, for tests that want a
# real IKE / UDP-encapsulated ESP peer.  Needs root and, on Debian or Ubuntu:
#   apt-get install strongswan-charon strongswan-swanctl strongswan-pki libcharon-extra-plugins \
#                   libstrongswan-standard-plugins iproute2 nftables   (nftables or iptables; only for --nat)
#   iputils-ping   (only for selftest)
# ESP is done in userland (plugin kernel-libipsec), so the kernel needs no ESP support, only /dev/net/tun.
#
#   strongswan_peer.sh up [--nat | --nat-random]   start; returns when the peer answers (about 3 s)
#   strongswan_peer.sh exec CMD...                 run CMD in the client's namespace
#   strongswan_peer.sh initiate CONN [ADDR]        the peer starts mm-psk, mm-rsa, am-psk or v2-psk towards ADDR
#                                                  (default the client of the direct path, 203.0.113.1)
#   strongswan_peer.sh terminate CONN              and ends it again, with deletes
#   strongswan_peer.sh end CONN                    the peer ends a connection that the client started, with deletes
#   strongswan_peer.sh rekey CONN                  rekeys the CHILD_SA of a connection the peer holds (either role)
#   strongswan_peer.sh sas                         what the peer has established
#   strongswan_peer.sh keys                        IKE and ESP keys of the peer, from its log
#   strongswan_peer.sh selftest                    a second charon, as client, tries all four connections
#   strongswan_peer.sh down [--keep]               stop what `up` started; --keep leaves the directory with the logs
#
# Environment: PEER_DIR (default /tmp/strongswan-peer), PEER_NAME (namespace prefix, default sswan).
# Two peers with different PEER_DIR and PEER_NAME can run side by side.
#
# direct:  client 203.0.113.1 ------------------------------------ peer 203.0.113.2, 192.168.50.1 behind it
# --nat:   client 10.0.0.2 -- 10.0.0.1 NAT 203.0.113.1 ----------- peer 203.0.113.2, 192.168.50.1 behind it
#          --nat maps source port 500 to 1 and 4500 to 1024; --nat-random maps into 1024-2000.
set -eu

DIR=${PEER_DIR:-/tmp/strongswan-peer}
NAME=${PEER_NAME:-sswan}
SRV=203.0.113.2 OUT=203.0.113.1 CLI=10.0.0.2 GW=10.0.0.1 INNER=192.168.50.1
PSK="lab preshared key"
DN="C=CH, O=strongSwan Peer Lab"
CHARON=${CHARON:-/usr/lib/ipsec/charon}

die() { echo "strongswan_peer: $*" >&2; exit 1; }
in_ns() { n=$1; shift; ip netns exec "$NAME-$n" "$@"; }

# Start time of a process (ticks since boot): with the pid it names one process for good.
born() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

remember() { echo "$1 $(born "$1")" >> "$DIR/pids"; }

stop_all() {                # ends only processes written down by `remember`
    [ -f "$DIR/pids" ] || return 0
    while read -r pid start; do
        [ -n "$start" ] && [ "$(born "$pid")" = "$start" ] || continue
        kill "$pid" 2>/dev/null || continue
        i=0
        while [ "$(born "$pid")" = "$start" ] && [ $i -lt 50 ]; do sleep 0.1; i=$((i + 1)); done
        [ "$(born "$pid")" != "$start" ] || kill -9 "$pid" 2>/dev/null || true
    done < "$DIR/pids"
    rm -f "$DIR/pids"
}

down() {
    [ -f "$DIR/.strongswan-peer" ] || { echo "nothing to stop in $DIR"; return 0; }
    stop_all
    for n in $(cat "$DIR/netns" 2>/dev/null); do ip netns del "$n" 2>/dev/null || true; done
    rm -f "$DIR/netns"
    if [ "${1:-}" = --keep ]; then echo "logs are left in $DIR"; else rm -rf "$DIR"; fi
}

space() {
    ip netns add "$NAME-$1"; echo "$NAME-$1" >> "$DIR/netns"
    in_ns "$1" ip link set lo up
}

wire() {                    # wire NS DEV ADDR NS DEV ADDR
    ip link add "$2" netns "$NAME-$1" type veth peer name "$5" netns "$NAME-$4"
    in_ns "$1" ip addr add "$3" dev "$2"; in_ns "$1" ip link set "$2" up
    in_ns "$4" ip addr add "$6" dev "$5"; in_ns "$4" ip link set "$5" up
}

nat() {                     # nat PROTO-MATCH TARGET : source NAT towards the peer
    if command -v nft >/dev/null; then
        in_ns nat nft add table ip nat
        in_ns nat nft 'add chain ip nat post { type nat hook postrouting priority 100 ; }'
        if [ "$1" = random ]; then
            in_ns nat nft add rule ip nat post oifname outer meta l4proto udp masquerade to :1024-2000
        else
            in_ns nat nft add rule ip nat post oifname outer udp sport 500 snat to "$OUT:1"
            in_ns nat nft add rule ip nat post oifname outer udp sport 4500 snat to "$OUT:1024"
        fi
        in_ns nat nft add rule ip nat post oifname outer masquerade
    else
        if [ "$1" = random ]; then
            in_ns nat iptables -t nat -A POSTROUTING -o outer -p udp -j MASQUERADE --to-ports 1024-2000
        else
            in_ns nat iptables -t nat -A POSTROUTING -o outer -p udp --sport 500 -j SNAT --to-source "$OUT:1"
            in_ns nat iptables -t nat -A POSTROUTING -o outer -p udp --sport 4500 -j SNAT --to-source "$OUT:1024"
        fi
        in_ns nat iptables -t nat -A POSTROUTING -o outer -j MASQUERADE
    fi
}

make_pki() {
    mkdir -p "$DIR/pki"; cd "$DIR/pki"
    echo "pki { load = random openssl x509 pem pkcs1 pkcs8 pubkey }" > pki.conf
    export STRONGSWAN_CONF="$DIR/pki/pki.conf"
    pki --gen --type rsa --size 2048 --outform pem > ca.key
    pki --self --ca --in ca.key --type rsa --lifetime 30 --dn "$DN, CN=Lab CA" --outform pem > ca.pem
    for w in server client; do
        pki --gen --type rsa --size 2048 --outform pem > $w.key
        pki --issue --in $w.key --type priv --cacert ca.pem --cakey ca.key --lifetime 30 \
            --dn "$DN, CN=$w.lab.example" --san $w.lab.example --outform pem > $w.pem
    done
    unset STRONGSWAN_CONF; cd - >/dev/null
}

daemon() {                  # daemon WHO NS : start a charon with $DIR/WHO/etc/swanctl.conf
    d=$DIR/$1
    mkdir -p "$d/run" "$d/etc/x509" "$d/etc/x509ca" "$d/etc/private"
    cp "$DIR/pki/ca.pem" "$d/etc/x509ca/"; cp "$DIR/pki/$1.pem" "$d/etc/x509/"; cp "$DIR/pki/$1.key" "$d/etc/private/"
    # copies, because an AppArmor profile would keep the installed binaries away from $DIR
    cp "$CHARON" "$d/charon"; cp "$(command -v swanctl)" "$d/swanctl"
    cat > "$d/strongswan.conf" <<END
charon {
  load = random nonce openssl x509 pem pkcs1 pkcs8 pubkey revocation constraints hmac kdf gcm kernel-libipsec kernel-netlink socket-default vici
  i_dont_care_about_security_and_use_aggressive_mode_psk = yes
  install_virtual_ip_on = lo
  plugins { vici { socket = unix://$d/vici } }
  # ike and chd at level 4 write the keys into the log
  filelog { log { path = $d/charon.log
    flush_line = yes
    ike_name = yes
    time_format = %H:%M:%S
    default = 1
    ike = 4
    chd = 4
    net = 2
    esp = 2 } }
}
swanctl { load = random openssl x509 pem pkcs1 pkcs8 pubkey }
END
    # its own mount namespace, for a private /run (charon.pid)
    STRONGSWAN_CONF=$d/strongswan.conf ip netns exec "$NAME-$2" unshare -m sh -c \
        "mount --bind '$d/run' /run && exec '$d/charon'" > "$d/charon.out" 2>&1 < /dev/null &
    pid=$!
    remember $pid
    i=0
    until [ -S "$d/vici" ] && control "$1" --load-all --noprompt > "$d/load.log" 2>&1; do
        kill -0 $pid 2>/dev/null || { cat "$d/charon.out" >&2; die "charon ($1) ended"; }
        i=$((i + 1)); [ $i -lt 150 ] || die "charon ($1) is not ready: see $d/charon.log and $d/load.log"
        sleep 0.1
    done
}

control() {                 # control WHO swanctl-arguments
    w=$1; shift
    STRONGSWAN_CONF=$DIR/$w/strongswan.conf SWANCTL_DIR=$DIR/$w/etc "$DIR/$w/swanctl" "$@" --uri "unix://$DIR/$w/vici"
}

IKE1=aes128-sha1-modp1024,aes256-sha1-modp1024,3des-sha1-modp1024,3des-md5-modp1024,aes128-sha1-modp2048,aes256-sha1-modp2048,aes128-sha256-modp2048,aes256-sha256-modp2048
IKE2=aes128-sha256-modp2048,aes256-sha256-modp2048,aes128gcm16-prfsha256-modp2048,aes128gcm16-prfsha256-ecp256,aes128-sha256-ecp256,aes128-sha1-modp1024
ESP1=aes128-sha1,aes256-sha1,aes128-sha256,aes256-sha256,3des-sha1,3des-md5,aes128-md5,aes128gcm16,aes256gcm16,null-sha1

conn() {                    # conn NAME VERSION AGGRESSIVE AUTH LOCAL-ID REMOTE-ID PROPOSALS ROLE
    who=$8
    case $8 in
    server) addr="local_addrs = $SRV" lts=192.168.50.0/24 rts=10.0.0.0/24,192.168.60.0/24 ;;
    outgoing) addr="local_addrs = $SRV
    remote_addrs = $TO" lts=192.168.50.0/24 rts=$TS/32 who=server ;;
    *) addr="remote_addrs = $SRV" lts=$TS/32 rts=192.168.50.0/24 ;;
    esac
    cert=; [ "$4" = psk ] || cert="certs = $who.pem"
    cat <<END
  $1 {
    version = $2
    aggressive = $3
    mobike = no
    $addr
    proposals = $7
    local {
      auth = $4
      id = $5
      $cert
    }
    remote {
      auth = $4
      $6
    }
    children {
      $1 {
        local_ts = $lts
        remote_ts = $rts
        esp_proposals = $ESP1
      }
    }
  }
END
}

up() {
    [ "$(id -u)" = 0 ] || die "must be root"
    for t in ip unshare swanctl pki "$CHARON"; do command -v "$t" >/dev/null || die "$t is missing"; done
    [ -c /dev/net/tun ] || die "/dev/net/tun is missing"
    [ ! -e "$DIR" ] || die "$DIR exists: run '$0 down' first"
    mkdir -m 700 -p "$DIR"; : > "$DIR/.strongswan-peer"
    trap 'echo "start failed; logs are in $DIR" >&2; down --keep' EXIT
    space srv; space cl
    case "${1:-}" in
    --nat|--nat-random)
        space nat
        wire cl eth0 $CLI/24 nat inner $GW/24
        wire nat outer $OUT/24 srv eth0 $SRV/24
        in_ns nat sysctl -qw net.ipv4.ip_forward=1
        in_ns cl ip route add default via $GW
        nat "${1#--nat-}"; TS=$CLI ;;
    "") wire cl eth0 $OUT/24 srv eth0 $SRV/24
        in_ns cl ip addr add 192.168.60.1/32 dev lo
        in_ns cl ip route add default via $SRV src $OUT
        TS=192.168.60.1 ;;
    *) die "unknown option $1" ;;
    esac
    echo "$TS" > "$DIR/ts"
    ip link add lan netns "$NAME-srv" type veth peer name lan-end netns "$NAME-srv"
    in_ns srv ip addr add $INNER/24 dev lan; in_ns srv ip link set lan up; in_ns srv ip link set lan-end up
    make_pki
    mkdir -p "$DIR/server/etc"
    { echo "connections {"
      conn mm-psk 1 no psk $SRV "" "$IKE1" server
      conn mm-rsa 1 no pubkey "\"$DN, CN=server.lab.example\"" "id = \"$DN, CN=*\"" "$IKE1" server
      conn am-psk 1 yes psk gateway.lab.example "" "$IKE1" server
      conn v2-psk 2 no psk gateway.lab.example "" "$IKE2" server
      echo "}"
      echo "secrets { ike-1 { secret = \"$PSK\" } }"; } > "$DIR/server/etc/swanctl.conf"
    daemon server srv
    trap - EXIT
    cat <<END
ready: peer $SRV (UDP 500 and 4500), behind it $INNER; client namespace $NAME-cl, inner address of the client $TS
connections: mm-psk, am-psk (id gateway.lab.example), mm-rsa, v2-psk; preshared key "$PSK"
certificates: $DIR/pki (ca.pem, client.pem, client.key); log with keys: $DIR/server/charon.log
plain packets of the peer: device ipsec0 in namespace $NAME-srv
END
}

initiate() {                # loaded only now, so that they do not take part in choosing for incoming requests
    TO=${2:-$OUT} TS=$(cat "$DIR/ts")
    [ -f "$DIR/server/etc/incoming.conf" ] || cp "$DIR/server/etc/swanctl.conf" "$DIR/server/etc/incoming.conf"
    { cat "$DIR/server/etc/incoming.conf"
      echo "connections {"
      conn out-mm-psk 1 no psk $SRV "" "$IKE1" outgoing
      conn out-mm-rsa 1 no pubkey "\"$DN, CN=server.lab.example\"" "id = \"$DN, CN=*\"" "$IKE1" outgoing
      conn out-am-psk 1 yes psk gateway.lab.example "" aes128-sha1-modp1024 outgoing
      conn out-v2-psk 2 no psk gateway.lab.example "" "$IKE2" outgoing
      echo "}"; } > "$DIR/server/etc/swanctl.conf"
    control server --load-conns > "$DIR/server/load.log" 2>&1 || die "see $DIR/server/load.log"
    control server --initiate --child "out-$1" --timeout 15
}

selftest() {
    TS=$(cat "$DIR/ts"); mkdir -p "$DIR/client/etc"
    { echo "connections {"
      conn mm-psk 1 no psk "$TS" "id = $SRV" aes128-sha1-modp1024 client
      conn mm-rsa 1 no pubkey "\"$DN, CN=client.lab.example\"" "id = \"$DN, CN=server.lab.example\"" aes128-sha1-modp1024 client
      conn am-psk 1 yes psk client@lab.example "id = gateway.lab.example" aes128-sha1-modp1024 client
      conn v2-psk 2 no psk client@lab.example "id = gateway.lab.example" aes128-sha256-modp2048 client
      echo "}"
      echo "secrets { ike-1 { secret = \"$PSK\" } }"; } > "$DIR/client/etc/swanctl.conf"
    daemon client cl
    bad=0
    for c in mm-psk mm-rsa am-psk v2-psk; do
        if control client --initiate --child $c --timeout 10 > "$DIR/client/$c.log" 2>&1 &&
           in_ns cl ping -n -c 2 -i 0.2 -W 2 -I "$TS" $INNER > "$DIR/client/$c.ping" 2>&1
        then echo "$c: ok"; else echo "$c: FAILED (see $DIR/client)"; bad=1; fi
        control client --terminate --ike $c > /dev/null 2>&1 || true
        sleep 0.3
    done
    set -- $(tail -1 "$DIR/pids")           # the client's charon was started last
    [ "$(born "$1")" = "$2" ] && kill "$1"
    while [ "$(born "$1")" = "$2" ]; do sleep 0.1; done
    sed -i '$d' "$DIR/pids"; rm -rf "$DIR/client.last"; mv "$DIR/client" "$DIR/client.last"
    return $bad
}

keys() {                    # every key dump and SPI of the peer's log, in order
    awk '/\[(IKE|CHD)\]/ && /(SKEYID(_[dae])?|SKEYSEED|Sk_.*secret|encryption key Ka|(encryption|integrity) (initiator|responder) key) => /{show=1; print; next}
         /SPI 0x|adding (in|out)bound ESP|CHILD_SA .* established/{show=0; print; next}
         show && /^.*> +[0-9]+: ([0-9A-F][0-9A-F] )+/{print; next} {show=0}' "$DIR/server/charon.log"
}

cmd=${1:-help}; [ $# -eq 0 ] || shift
case $cmd in
    up) up "$@" ;;
    down) down "$@" ;;
    exec) exec ip netns exec "$NAME-cl" "$@" ;;
    initiate) [ $# -ge 1 ] || die "initiate needs a connection"; initiate "$@" ;;
    terminate) control server --terminate --ike "out-${1:?connection}" --timeout 15 ;;
    end) control server --terminate --ike "${1:?connection}" --timeout 15 ;;
    rekey) control server --rekey --child "${1:?connection}" ;;
    sas) control server --list-sas ;;
    keys) keys ;;
    selftest) selftest ;;
    *) sed -n '2,/^set -eu/p' "$0" | sed '/^set -eu/d; s/^# \{0,1\}//'; [ "$cmd" = help ] ;;
esac
