# Where Shoji does not run, or allows no hypercall, the command `shoji` says so, and nothing else happens.
for command in status log "log --previous"; do
    said=$(/boot/tools/shoji $command 2>&1)
    [ $? = 4 ] || fail "$command ends with another status and says: $said"
    case $said in
        "shoji: Shoji does not run here"*) ;;
        *) fail "$command says: $said" ;;
    esac
done
